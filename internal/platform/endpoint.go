package platform

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

const (
	// DefaultRegion is where a device connects that names no server.
	DefaultRegion = "cn-shanghai"
	// DefaultPort serves MQTT over TLS only, with the platform's own root, and is the one that its operator recommends.
	DefaultPort = 8883
)

// Endpoint says which server of the platform to use: at most one of Region, InstanceID and Host. The zero value is DefaultRegion.
// It is comparable.
type Endpoint struct {
	// Region of an old public instance, such as "cn-shanghai".
	Region string `json:"region,omitempty"`
	// InstanceID of a new public or an enterprise instance, such as "iot-0123abc".
	InstanceID string `json:"instance_id,omitempty"`
	// Host is a host name or IP address of one's own.
	Host string `json:"host,omitempty"`
	// Port is 1 to 65535; 0 is DefaultPort.
	Port int `json:"port,omitempty"`
}

// Regions with a public host; those without one serve enterprise instances only.
var (
	publicRegions     = []string{"cn-shanghai", "ap-southeast-1", "ap-northeast-1", "us-west-1", "us-east-1", "eu-central-1"}
	enterpriseRegions = []string{"cn-beijing", "cn-shenzhen"}
)

var (
	// Some instance ids name their region, as in "iot-cn-abc123", so a "-" may stand within. An id is one DNS label.
	instanceID = regexp.MustCompile(`^iot(-[A-Za-z0-9]+)+$`)
	hostLabel  = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)
	zone       = regexp.MustCompile(`^[A-Za-z0-9_.-]{0,15}$`) // of an IPv6 address; Linux has interfaces of 15 characters
)

// Resolve is the server's host name (or IP address) and port for a device of the product. Errors are those of Validate.
func (e Endpoint) Resolve(productKey string) (host string, port int, err error) {
	if err := e.Validate(); err != nil {
		return "", 0, err
	}
	port = e.Port
	if port == 0 {
		port = DefaultPort
	}
	switch {
	case e.Host != "":
		return e.Host, port, nil
	case e.InstanceID != "":
		return e.InstanceID + ".mqtt.iothub.aliyuncs.com", port, nil
	}
	return productKey + ".iot-as-mqtt." + e.region() + ".aliyuncs.com", port, nil
}

// Custom reports whether the server is one's own, so that the platform's rules about regions do not bind it.
func (e Endpoint) Custom() bool { return e.Host != "" }

// Validate tells, by a *FieldError, what cannot be a server of the platform.
func (e Endpoint) Validate() error {
	switch {
	case e.Region != "" && e.InstanceID != "", e.Region != "" && e.Host != "", e.InstanceID != "" && e.Host != "":
		return &FieldError{"endpoint", "takes at most one of region, instance_id and host"}
	case e.Port < 0 || e.Port > 65535:
		return &FieldError{"endpoint.port", fmt.Sprintf("%d must be 1 to 65535; leave it out for %d", e.Port, DefaultPort)}
	case e.Host != "":
		return validateHost(e.Host)
	case e.InstanceID != "":
		if !instanceID.MatchString(e.InstanceID) || len(e.InstanceID) > 63 {
			return &FieldError{"endpoint.instance_id", fmt.Sprintf(`%.80q must be "iot-" and letters or digits, at most 63 characters, as the console shows it`, e.InstanceID)}
		}
		return nil
	}
	return validateRegion(e.region())
}

// region is the region in force; empty when the endpoint is not given by region.
func (e Endpoint) region() string {
	if e == (Endpoint{Port: e.Port}) {
		return DefaultRegion
	}
	return e.Region
}

func validateRegion(region string) error {
	if slices.Contains(publicRegions, region) {
		return nil
	}
	if slices.Contains(enterpriseRegions, region) {
		return &FieldError{"endpoint.region", region + " has no public host, only enterprise instances: give the instance's id as instance_id instead"}
	}
	return &FieldError{"endpoint.region", fmt.Sprintf("%.80q is not a region of the platform; known are %s (for an instance use instance_id, for other servers host)",
		region, strings.Join(publicRegions, ", "))}
}

func validateHost(host string) error {
	wrong := func(problem string) error {
		return &FieldError{"endpoint.host", fmt.Sprintf("%.80q %s", host, problem)}
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if !zone.MatchString(ip.Zone()) { // the library takes any character
			return wrong("has a zone that is no name of a network interface")
		}
		return nil
	}
	switch {
	case len(host) > 253:
		return wrong("is longer than the 253 characters of a host name")
	case strings.Contains(host, "://"):
		return wrong(`must be the host name alone, without a scheme such as "mqtts://"`)
	case strings.ContainsAny(host, "/?#"):
		return wrong("must be the host name alone, without a path")
	case strings.ContainsAny(host, ":[]"):
		return wrong("must be the host name alone: the port belongs in endpoint.port, and an IPv6 address goes without brackets")
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(host, "."), ".") {
		if !hostLabel.MatchString(label) {
			return wrong("is not a host name: its parts between dots must be 1 to 63 letters, digits or hyphens")
		}
	}
	return nil
}
