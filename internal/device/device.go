// Package device has the nouns that every other room shares: which device, and its secrets.
//
// It imports no other room.
package device

import (
	"errors"
	"fmt"
	"strings"
)

// ID names one device on the platform: the product it belongs to and its name within that product.
// It is comparable, so it can be a map key.
type ID struct {
	ProductKey string `json:"product_key"`
	DeviceName string `json:"device_name"`
}

// String is "product_key/device_name", the form used in logs and in health service names.
func (id ID) String() string { return id.ProductKey + "/" + id.DeviceName }

// IsZero reports whether nothing was named.
func (id ID) IsZero() bool { return id == ID{} }

// The shapes below are wider than any single edition of the platform's documentation: real product keys have
// 11 characters, SDK buffers hold 20, and device names grew from 32 to 64 characters over the years.
const (
	longestProductKey, inProductKey = 20, ""
	longestDeviceName, inDeviceName = 64, "_.:@-"
)

// ErrInvalidID is in the chain of every error that Validate returns.
var ErrInvalidID = errors.New("not a device of the platform")

// Validate tells what the platform would not take as a device: an empty or over-long part, or a character
// (such as "|" or "&") that would break the client id that the part is put into.
func (id ID) Validate() error {
	if !made(id.ProductKey, longestProductKey, inProductKey) {
		return fmt.Errorf("%w: product_key %q must be 1 to 20 letters and digits", ErrInvalidID, id.ProductKey)
	}
	if !made(id.DeviceName, longestDeviceName, inDeviceName) {
		return fmt.Errorf("%w: device_name %q must be 1 to 64 letters, digits or any of - _ . : @", ErrInvalidID, id.DeviceName)
	}
	return nil
}

// made reports whether s has 1 to longest bytes, each a letter, a digit or one of others. Every call that names a device asks this, so
// there is no regular expression.
func made(s string, longest int, others string) bool {
	if s == "" || len(s) > longest {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte(others, c) < 0:
			return false
		}
	}
	return true
}

// ParseID reads the form that String writes.
func ParseID(s string) (ID, error) {
	pk, dn, found := strings.Cut(s, "/")
	if !found {
		return ID{}, fmt.Errorf("%w: %q must look like PRODUCT_KEY/DEVICE_NAME", ErrInvalidID, s)
	}
	id := ID{ProductKey: pk, DeviceName: dn}
	return id, id.Validate()
}
