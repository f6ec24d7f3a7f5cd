// Package credential keeps what devices log in with on disk, where it survives everything but the disk.
//
// A secret that registration has given out cannot be asked for again, so each one has a file of its own that is
// replaced atomically and is durable before Put returns:
//
//	STATE/credentials/                                 mode 0700, files 0600; wider ones are refused
//	    a1B2c3D4e5F+dev-001.json                       the current credential (.json.age when encrypted)
//	    a1B2c3D4e5F+dev-001+candidate.json             one that the platform has not accepted yet
//	    a1B2c3D4e5F+dev-001+intent.json                a registration under way; never holds a secret
//	    a1B2c3D4e5F+dev-001.json.corrupt-20260102T…    damaged, set aside for a person to look at
//
// Damaged files are never overwritten and never deleted. Nothing in here logs a secret or puts one in an error.
// One process at a time may use the directory; whoever opens a Store holds the lock of the state directory.
package credential

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// Kind says what the Secret of a Credential is.
type Kind string

// The kinds of credential.
const (
	DeviceSecret Kind = "device_secret" // signs each login; from the console or from registration with a product secret
	DeviceToken  Kind = "device_token"  // is the password as it stands; from registration-free login, belongs to its client id
	MQTT         Kind = "mqtt"          // is the password as it stands; client id, user name and password were made elsewhere
)

// Credential is what one device logs in with.
type Credential struct {
	Kind     Kind
	ClientID string        // with DeviceToken and MQTT
	Username string        // with MQTT
	Secret   device.Secret // the device secret, the device token or the MQTT password, by Kind
	Source   string        // where it came from, such as "connect" or "register/pre_registered"; for people
	StoredAt time.Time     // when it was stored; Put fills it in
}

// maxField is the longest string in bytes that MQTT can carry.
const maxField = 1<<16 - 1

// ErrInvalid is in the chain of every error of Validate.
var ErrInvalid = errors.New("not a usable credential")

// Validate tells which part is missing, superfluous or impossible. Its errors never quote a part.
func (c Credential) Validate() error {
	var needsClientID, needsUsername bool
	switch c.Kind {
	case DeviceSecret:
	case DeviceToken:
		needsClientID = true
	case MQTT:
		needsClientID, needsUsername = true, true
	default:
		return fmt.Errorf("%w: its kind is none of %s, %s and %s", ErrInvalid, DeviceSecret, DeviceToken, MQTT)
	}
	for _, part := range []struct {
		name, value string
		needed      bool
	}{
		{"client id", c.ClientID, needsClientID},
		{"user name", c.Username, needsUsername},
		{"secret", c.Secret.Reveal(), true},
	} {
		switch {
		case part.needed && part.value == "":
			return fmt.Errorf("%w: a %s needs a %s", ErrInvalid, c.Kind, part.name)
		case !part.needed && part.value != "":
			return fmt.Errorf("%w: a %s has no %s", ErrInvalid, c.Kind, part.name)
		case len(part.value) > maxField:
			return fmt.Errorf("%w: its %s has %d bytes and MQTT carries %d", ErrInvalid, part.name, len(part.value), maxField)
		case !utf8.ValidString(part.value): // JSON would store something else in its place
			return fmt.Errorf("%w: its %s is not UTF-8 text", ErrInvalid, part.name)
		}
	}
	if !utf8.ValidString(c.Source) || len(c.Source) > maxField {
		return fmt.Errorf("%w: its source is not a short text", ErrInvalid)
	}
	if year := c.StoredAt.UTC().Year(); year < 1 || year > 9999 {
		return fmt.Errorf("%w: it cannot have been stored in the year %d", ErrInvalid, year)
	}
	return nil
}

// Same reports whether both log in as the same: it ignores where they came from and when they were stored.
func (c Credential) Same(other Credential) bool {
	return c.Kind == other.Kind && c.ClientID == other.ClientID && c.Username == other.Username && c.Secret.Equal(other.Secret)
}

// Fingerprint is 16 hex digits that tell two credentials apart and are of no use for logging in. Credentials that are
// the Same have the same one.
func (c Credential) Fingerprint() string {
	sum := sha256.New()
	for _, part := range []string{"linkkit-sidecar credential fingerprint", string(c.Kind), c.ClientID, c.Username, c.Secret.Reveal()} {
		sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // so that no two lists of parts run together alike
		sum.Write([]byte(part))
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}
