package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// Device is one that the file declares to be online. The names are those of ConnectRequest; what the file leaves out is nil or
// empty, and has ConnectRequest's default.
type Device struct {
	At string // FILE:LINE, for errors
	ID device.ID

	// DeviceSecretFile holds the secret; "" is a device whose credential is stored already.
	DeviceSecretFile string

	Endpoint    Endpoint
	DialAddress string
	TLS         TLS
	MQTT        MQTT
	Reconnect   Reconnect
	SignMethod  string
	Interfaces  []Interface
}

// Endpoint is linkkit_sidecar.v1.Endpoint.
type Endpoint struct {
	Region, InstanceID, Host string
	Port                     int
}

// TLS is linkkit_sidecar.v1.TlsSettings, with a file in place of the PEM text.
type TLS struct {
	CAFile                                          string
	SystemRoots, SkipHostnameVerification, PlainTCP bool
}

// MQTT is linkkit_sidecar.v1.MqttSettings.
type MQTT struct {
	KeepAlive      time.Duration
	CleanSession   *bool
	Protocol       string // "3.1.1" or "3.1"
	MaxInflight    int
	MaxQueued      int
	ConnectTimeout time.Duration
}

// Reconnect is linkkit_sidecar.v1.ReconnectSettings.
type Reconnect struct{ MinDelay, MaxDelay time.Duration }

// Interface is linkkit_sidecar.v1.NetworkInterface: one that has a MAC, or else a modem.
type Interface struct {
	Kind                      string // "ethernet", "wifi" or "cellular"
	MAC                       string
	IMEI, ICCID, IMSI, MSISDN string
}

// Choices of the settings that take one of a few words.
var (
	Protocols   = []string{"3.1.1", "3.1"}
	SignMethods = []string{"hmacsha256", "hmacsha1", "hmacmd5"}
)

func (f *File) devices(path string, n *yaml.Node) error {
	first := map[device.ID]string{}
	return f.each(n, path, func(path string, n *yaml.Node) error {
		d := Device{At: f.at(n)}
		if err := f.object(n, path, fields{
			"product_key":        value(f, &d.ID.ProductKey, text),
			"device_name":        value(f, &d.ID.DeviceName, text),
			"device_secret_file": value(f, &d.DeviceSecretFile, text),
			"endpoint":           f.endpoint(&d.Endpoint),
			"dial_address":       value(f, &d.DialAddress, text),
			"tls":                f.tls(&d.TLS),
			"mqtt":               f.mqtt(&d.MQTT),
			"reconnect":          f.reconnect(&d.Reconnect),
			"sign_method":        value(f, &d.SignMethod, oneOf(SignMethods)),
			"network_interfaces": f.interfaces(&d.Interfaces),
			"device_secret":      refuseSecret("device_secret_file"),
		}); err != nil {
			return err
		}
		if err := d.ID.Validate(); err != nil {
			return err
		}
		if at, twice := first[d.ID]; twice {
			return fmt.Errorf("%s is declared twice, first at %s", d.ID, at)
		}
		first[d.ID] = d.At
		f.Devices = append(f.Devices, d)
		return nil
	})
}

// refuseSecret tells where a secret should go, without quoting it.
func refuseSecret(instead string) func(string, *yaml.Node) error {
	return func(string, *yaml.Node) error {
		return errors.New("secrets come from files only: put it into one, and name that with " + instead)
	}
}

func (f *File) endpoint(e *Endpoint) func(string, *yaml.Node) error {
	return f.part(fields{
		"region":      value(f, &e.Region, text),
		"instance_id": value(f, &e.InstanceID, text),
		"host":        value(f, &e.Host, text),
		"port":        value(f, &e.Port, whole(1, 65535)),
	})
}

func (f *File) tls(t *TLS) func(string, *yaml.Node) error {
	return f.part(fields{
		"ca_file":                    value(f, &t.CAFile, text),
		"system_roots":               value(f, &t.SystemRoots, truth),
		"skip_hostname_verification": value(f, &t.SkipHostnameVerification, truth),
		"plain_tcp":                  value(f, &t.PlainTCP, truth),
	})
}

func (f *File) mqtt(m *MQTT) func(string, *yaml.Node) error {
	return f.part(fields{
		"keep_alive": value(f, &m.KeepAlive, ParseSeconds),
		"clean_session": value(f, &m.CleanSession, func(s string) (*bool, error) {
			b, err := truth(s)
			return &b, err
		}),
		"protocol":        value(f, &m.Protocol, oneOf(Protocols)),
		"max_inflight":    value(f, &m.MaxInflight, whole(0, 65535)),
		"max_queued":      value(f, &m.MaxQueued, whole(0, 1000000)),
		"connect_timeout": value(f, &m.ConnectTimeout, ParseSeconds),
	})
}

func (f *File) reconnect(r *Reconnect) func(string, *yaml.Node) error {
	return f.part(fields{
		"min_delay": value(f, &r.MinDelay, ParseSeconds),
		"max_delay": value(f, &r.MaxDelay, ParseSeconds),
	})
}

func (f *File) interfaces(to *[]Interface) func(string, *yaml.Node) error {
	return func(path string, n *yaml.Node) error {
		return f.each(n, path, func(path string, n *yaml.Node) error {
			var i Interface
			kinds := 0
			kind := func(name string, known fields) func(string, *yaml.Node) error {
				return func(path string, n *yaml.Node) error {
					i.Kind, kinds = name, kinds+1
					return f.object(n, path, known)
				}
			}
			mac := fields{"mac": value(f, &i.MAC, text)}
			err := f.object(n, path, fields{
				"ethernet": kind("ethernet", mac),
				"wifi":     kind("wifi", mac),
				"cellular": kind("cellular", fields{
					"imei": value(f, &i.IMEI, text), "iccid": value(f, &i.ICCID, text),
					"imsi": value(f, &i.IMSI, text), "msisdn": value(f, &i.MSISDN, text),
				}),
			})
			if err == nil && kinds != 1 {
				err = errors.New("must be one of ethernet, wifi and cellular")
			}
			*to = append(*to, i)
			return err
		})
	}
}

// part reads a mapping within another.
func (f *File) part(known fields) func(string, *yaml.Node) error {
	return func(path string, n *yaml.Node) error { return f.object(n, path, known) }
}

func text(s string) (string, error) { return s, nil }

func truth(s string) (bool, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%q must be true or false", s)
}

// whole reads a whole number within bounds.
func whole(least, most int) func(string) (int, error) {
	return func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return 0, fmt.Errorf("%q must be a whole number from %d to %d", s, least, most)
		}
		return n, nil
	}
}

// oneOf reads one of a few words.
func oneOf(words []string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("%q must be one of %s", s, list(words))
		}
		return s, nil
	}
}

// ParseSeconds reads a number of whole seconds: "90", or "1m30s". The platform and the RPCs count in seconds.
func ParseSeconds(s string) (time.Duration, error) {
	if _, err := strconv.ParseUint(s, 10, 32); err == nil {
		s += "s"
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > longest || d%time.Second != 0 {
		return 0, fmt.Errorf(`%q must be whole seconds, such as "90" or "1m30s"`, s)
	}
	return d, nil
}

// longest is a year: more is a mistake.
const longest = 366 * 24 * time.Hour
