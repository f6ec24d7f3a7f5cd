package conn

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/trust"
)

// TLS says whom to trust. The zero value trusts the built-in roots and verifies the host's name.
type TLS struct {
	CAPEM                    string `json:"ca_pem,omitempty"` // trusted beside the built-in roots
	SystemRoots              bool   `json:"system_roots,omitempty"`
	SkipHostnameVerification bool   `json:"skip_hostname_verification,omitempty"`
	PlainTCP                 bool   `json:"plain_tcp,omitempty"`
}

// Target is a server and how to reach and trust it: what a login and a registration have in common.
type Target struct {
	Endpoint    platform.Endpoint `json:"endpoint"`
	DialAddress string            `json:"dial_address,omitempty"` // "IP" or "IP:PORT" to dial in place of the host
	TLS         TLS               `json:"tls"`
}

// Settings are how one device is kept online. They are comparable: two apps that ask for equal settings agree.
type Settings struct {
	Target
	KeepAlive      time.Duration       `json:"keep_alive"` // whole seconds, 30 s to 1200 s
	CleanSession   bool                `json:"clean_session"`
	Protocol       uint                `json:"protocol"` // 4 is MQTT 3.1.1, 3 is 3.1
	MaxInflight    int                 `json:"max_inflight"`
	MaxQueued      int                 `json:"max_queued"` // 0 is no limit
	ConnectTimeout time.Duration       `json:"connect_timeout"`
	ReconnectMin   time.Duration       `json:"reconnect_min"`
	ReconnectMax   time.Duration       `json:"reconnect_max"`
	SignMethod     platform.SignMethod `json:"sign_method"`
	InterfaceInfo  string              `json:"interface_info,omitempty"` // as platform.InterfaceInfo renders it
}

// DefaultSettings are those of a Connect that asks for nothing in particular.
func DefaultSettings() Settings {
	return Settings{
		KeepAlive: time.Minute, CleanSession: true, Protocol: 4, MaxInflight: 20, ConnectTimeout: 20 * time.Second,
		ReconnectMin: time.Second, ReconnectMax: time.Minute, SignMethod: platform.DefaultSignMethod,
	}
}

// Validate tells, by a *platform.FieldError, what no attempt could ever use.
func (s Settings) Validate(id device.ID) error {
	if err := s.Target.validate(id); err != nil {
		return err
	}
	switch {
	case s.KeepAlive < platform.MinKeepAlive*time.Second || s.KeepAlive > platform.MaxKeepAlive*time.Second:
		return fieldError("mqtt.keep_alive", "must be 30 to 1200 seconds: the platform refuses others")
	case s.ReconnectMin <= 0 || s.ReconnectMax > 2*time.Hour:
		return fieldError("reconnect", "min_delay and max_delay must be 1 to 7200 seconds")
	case s.ReconnectMin > s.ReconnectMax:
		return fieldError("reconnect.min_delay", "must not be greater than max_delay")
	case s.ConnectTimeout <= 0 || s.ConnectTimeout > 2*time.Minute:
		return fieldError("mqtt.connect_timeout", "must be 1 to 120 seconds")
	case s.Protocol != 3 && s.Protocol != 4:
		return fieldError("mqtt.protocol", "must be MQTT 3.1.1 or 3.1")
	case len(s.InterfaceInfo) > platform.MaxInterfaceInfo:
		return fieldError("network_interfaces", fmt.Sprintf("rendered they have %d characters; the platform takes %d",
			len(s.InterfaceInfo), platform.MaxInterfaceInfo))
	}
	return nil
}

func (t Target) validate(id device.ID) error {
	host, _, err := t.Endpoint.Resolve(id.ProductKey)
	if err != nil {
		return err
	}
	if _, err := netip.ParseAddr(host); err == nil && !t.TLS.PlainTCP && !t.TLS.SkipHostnameVerification {
		return fieldError("endpoint.host", fmt.Sprintf("is the IP address %s, which TLS cannot verify: give the host name here, and the address as dial_address", host))
	}
	if _, err := t.dialTarget("", 1); err != nil {
		return err
	}
	if t.TLS.CAPEM != "" {
		if _, err := trust.Parse([]byte(t.TLS.CAPEM)); err != nil {
			return fieldError("tls.ca_pem", "must hold PEM certificates: "+err.Error())
		}
	}
	return nil
}

// dialTarget is "host:port" to dial: dial_address where it is given.
func (t Target) dialTarget(host string, port int) (string, error) {
	if t.DialAddress == "" {
		return net.JoinHostPort(host, fmt.Sprint(port)), nil
	}
	if ip, err := netip.ParseAddr(t.DialAddress); err == nil {
		return net.JoinHostPort(ip.String(), fmt.Sprint(port)), nil
	}
	if address, err := netip.ParseAddrPort(t.DialAddress); err == nil && address.Port() != 0 {
		return address.String(), nil
	}
	return "", fieldError("dial_address", "must be an IP address, or IP:PORT with IPv6 in brackets; host names belong in endpoint.host")
}

// address is the server as people know it, "host:port".
func (t Target) address(id device.ID) string {
	host, port, err := t.Endpoint.Resolve(id.ProductKey)
	if err != nil {
		return ""
	}
	return net.JoinHostPort(host, fmt.Sprint(port))
}

func fieldError(field, problem string) error {
	return &platform.FieldError{Field: field, Problem: problem}
}
