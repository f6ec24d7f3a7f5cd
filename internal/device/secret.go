package device

import (
	"crypto/subtle"
	"log/slog"
)

const redacted = "[secret]"

// Secret is a string that must not be seen: it prints, formats, logs and marshals as "[secret]".
// Only Reveal tells what it holds.
//
// The string is behind a pointer because fmt calls no methods on unexported fields: there it prints an address.
type Secret struct{ value *string }

// NewSecret wraps s.
func NewSecret(s string) Secret {
	if s == "" {
		return Secret{}
	}
	return Secret{&s}
}

// Reveal is the secret itself. Each caller is a place to review.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.value == nil }

// Equal compares in constant time.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String hides the secret from fmt's %s and %v.
func (Secret) String() string { return redacted }

// GoString hides the secret from fmt's %#v.
func (Secret) GoString() string { return redacted }

// LogValue hides the secret from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret from JSON and its like. A room that must store a secret reveals it on purpose.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
