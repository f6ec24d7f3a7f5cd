package platform

import (
	"net"
	"net/url"
	"strconv"
)

const (
	registrationPath = "/auth/register/device"
	httpsPort        = 443
)

// RegistrationURL is where HTTPSLegacy registers in a region of the platform; "" is DefaultRegion.
func RegistrationURL(region string) string {
	if region == "" {
		region = DefaultRegion
	}
	return "https://iot-auth." + region + ".aliyuncs.com" + registrationPath
}

// CustomRegistrationURL is where HTTPSLegacy registers on a server of one's own. Port 0 is 443.
func CustomRegistrationURL(host string, port int) string {
	if port == 0 {
		port = httpsPort
	}
	u := url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(port)), Path: registrationPath}
	return u.String() // escapes the zone of an IPv6 address
}
