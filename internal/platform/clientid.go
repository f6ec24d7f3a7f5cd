package platform

import (
	"errors"
	"fmt"
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// Param is one extended parameter of a client id.
type Param struct{ Key, Value string }

// ClientID is an MQTT client id as the platform reads it: a base, and parameters in their order.
//
//	base|key=value,key=value|
type ClientID struct {
	Base   string
	Params []Param
}

// ParseClientID reads s as the platform does. The base ends at the first "|". Values may hold "|" and "=" themselves, so the
// parameters end at the last "|", and a closing one that is missing is forgiven. Items that are no pairs are skipped: some SDKs
// end the list with a comma. The only error is a client id without any "|".
func ParseClientID(s string) (ClientID, error) {
	base, rest, piped := strings.Cut(s, "|")
	if !piped {
		return ClientID{}, errors.New(`the client id has no "|": it must look like BASE|KEY=VALUE,…|`)
	}
	if end := strings.LastIndexByte(rest, '|'); end >= 0 {
		rest = rest[:end]
	}
	c := ClientID{Base: base}
	for item := range strings.SplitSeq(rest, ",") {
		if key, value, pair := strings.Cut(item, "="); pair {
			c.Params = append(c.Params, Param{key, value})
		}
	}
	return c, nil
}

// Get is the value of a parameter; of several with the same key the last counts. It is "" when there is none; see Has.
func (c ClientID) Get(key string) string {
	value, _ := c.lookup(key)
	return value
}

// Has reports whether the parameter is there, if only with an empty value.
func (c ClientID) Has(key string) bool {
	_, found := c.lookup(key)
	return found
}

func (c ClientID) lookup(key string) (value string, found bool) {
	for _, p := range c.Params {
		if p.Key == key {
			value, found = p.Value, true
		}
	}
	return value, found
}

// String is the client id on the wire.
func (c ClientID) String() string {
	var s strings.Builder
	s.WriteString(c.Base)
	s.WriteByte('|')
	for i, p := range c.Params {
		if i > 0 {
			s.WriteByte(',')
		}
		s.WriteString(p.Key + "=" + p.Value)
	}
	s.WriteByte('|')
	return s.String()
}

// ParseUsername reads an MQTT user name, "DEVICE_NAME&PRODUCT_KEY". It is cut at the last "&".
func ParseUsername(s string) (device.ID, error) {
	at := strings.LastIndexByte(s, '&')
	if at < 0 {
		return device.ID{}, fmt.Errorf(`%w: the user name %.160q must be DEVICE_NAME&PRODUCT_KEY`, device.ErrInvalidID, s)
	}
	id := device.ID{ProductKey: s[at+1:], DeviceName: s[:at]}
	if err := id.Validate(); err != nil {
		return device.ID{}, err
	}
	return id, nil
}

func username(id device.ID) string { return id.DeviceName + "&" + id.ProductKey }
