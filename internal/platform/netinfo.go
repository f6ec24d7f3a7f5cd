package platform

import (
	"fmt"
	"regexp"
	"strings"
)

// NetworkInterface is an Ethernet, a WiFi or a Cellular.
type NetworkInterface interface {
	// render is the interface as the platform writes it; field is its path, for errors.
	render(field string) (string, error)
}

// Ethernet is a wired interface.
type Ethernet struct {
	// MAC is 12 hexadecimal digits of either case, with or without ":" or "-" between the pairs.
	MAC string
}

// WiFi is a Wi-Fi interface.
type WiFi struct {
	// MAC is 12 hexadecimal digits of either case, with or without ":" or "-" between the pairs.
	MAC string
}

// Cellular is a modem. At least one of its numbers is given.
type Cellular struct {
	IMEI   string // digits, at most 20
	ICCID  string // digits, by some vendors also A to F, at most 24
	IMSI   string // digits, at most 20
	MSISDN string // digits with the country code and without "+", at most 20
}

// InterfaceInfo renders the interfaces as the parameter "sii" has them, such as "Eth|03ACDEFF0032|Cellular|imei_860000000000001".
// Errors are *FieldError; one of the whole is that it would be longer than MaxInterfaceInfo.
func InterfaceInfo(interfaces []NetworkInterface) (string, error) {
	parts := make([]string, 0, len(interfaces))
	for i, n := range interfaces {
		field := fmt.Sprintf("network_interfaces[%d]", i)
		if n == nil {
			return "", &FieldError{field, "must be one of ethernet, wifi and cellular"}
		}
		part, err := n.render(field)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	info := strings.Join(parts, "|")
	if len(info) > MaxInterfaceInfo {
		return "", &FieldError{"network_interfaces", fmt.Sprintf("rendered they have %d characters; the platform takes %d: leave some out", len(info), MaxInterfaceInfo)}
	}
	return info, nil
}

var (
	mac       = regexp.MustCompile(`^([0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}$`)
	separator = strings.NewReplacer(":", "", "-", "")
	digits20  = regexp.MustCompile(`^[0-9]{1,20}$`)
	hex24     = regexp.MustCompile(`^[0-9A-Fa-f]{1,24}$`)
)

func (e Ethernet) render(field string) (string, error) {
	return renderMAC("Eth", e.MAC, field+".ethernet.mac")
}

func (w WiFi) render(field string) (string, error) {
	return renderMAC("WiFi", w.MAC, field+".wifi.mac")
}

func renderMAC(kind, address, field string) (string, error) {
	if !mac.MatchString(address) {
		return "", &FieldError{field, fmt.Sprintf(`%.40q must be 12 hexadecimal digits, with or without ":" or "-" between the pairs`, address)}
	}
	return kind + "|" + strings.ToUpper(separator.Replace(address)), nil
}

func (c Cellular) render(field string) (string, error) {
	field += ".cellular"
	parts := []string{"Cellular"}
	for _, number := range []struct {
		name, value string
		shape       *regexp.Regexp
		rule        string
	}{
		{"imei", c.IMEI, digits20, "must be at most 20 digits"},
		{"iccid", c.ICCID, hex24, "must be at most 24 digits (or letters A to F)"},
		{"imsi", c.IMSI, digits20, "must be at most 20 digits"},
		{"msisdn", c.MSISDN, digits20, `must be at most 20 digits, with the country code and without "+"`},
	} {
		if number.value == "" {
			continue
		}
		if !number.shape.MatchString(number.value) {
			return "", &FieldError{field + "." + number.name, fmt.Sprintf("%.40q %s", number.value, number.rule)}
		}
		parts = append(parts, number.name+"_"+number.value)
	}
	if len(parts) == 1 {
		return "", &FieldError{field, "must have at least one of imei, iccid, imsi and msisdn"}
	}
	return strings.Join(parts, "|"), nil
}

// ReportedInterface is one interface of an interface info that a device sent.
type ReportedInterface struct {
	Kind   string   // as sent: "WiFi", "Eth" or "ETH", "Cellular"
	Values []string // as sent, unchecked: SDKs put MACs, parts of MACs and IP addresses here
}

// ParseInterfaceInfo takes apart what a device sent as its interface info. It refuses nothing: what stands before the first
// known kind is left out.
func ParseInterfaceInfo(s string) []ReportedInterface {
	var all []ReportedInterface
	for token := range strings.SplitSeq(s, "|") {
		switch strings.ToLower(token) {
		case "wifi", "eth", "cellular":
			all = append(all, ReportedInterface{Kind: token})
		default:
			if len(all) > 0 {
				last := &all[len(all)-1]
				last.Values = append(last.Values, token)
			}
		}
	}
	return all
}
