package credential

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// version is that of the records below. It changes only when an older sidecar would misread them.
const version = 1

// record is a Credential as it is written. It names its device, so that a file under a wrong name is noticed, and its
// fingerprint, so that a changed byte is.
type record struct {
	Version     int       `json:"version"`
	ProductKey  string    `json:"product_key"`
	DeviceName  string    `json:"device_name"`
	Kind        Kind      `json:"kind"`
	ClientID    string    `json:"client_id,omitempty"`
	Username    string    `json:"username,omitempty"`
	Secret      string    `json:"secret"`
	Source      string    `json:"source,omitempty"`
	StoredAt    time.Time `json:"stored_at"`
	Fingerprint string    `json:"fingerprint"`
}

// intentRecord is an Intent as it is written.
type intentRecord struct {
	Version    int       `json:"version"`
	ProductKey string    `json:"product_key"`
	DeviceName string    `json:"device_name"`
	Method     string    `json:"method"`
	Endpoint   string    `json:"endpoint"`
	StartedAt  time.Time `json:"started_at"`
}

// UnknownVersionError says that a newer program wrote the file. The file has not been touched.
type UnknownVersionError struct {
	Path  string
	Found int // the version in the file
}

// Error tells the version and the way out.
func (e *UnknownVersionError) Error() string {
	return fmt.Sprintf("%s has version %d and this linkkit-sidecar knows %d: a newer linkkit-sidecar wrote it; "+
		"run that one or use another --state-dir", e.Path, e.Found, version)
}

// errDamaged is in the chain of errors that mean that nobody wrote the file like this.
var errDamaged = errors.New("it is damaged")

func encode(v any) ([]byte, error) {
	var text bytes.Buffer
	to := json.NewEncoder(&text)
	to.SetEscapeHTML(false) // "&" is in most user names
	to.SetIndent("", "  ")
	err := to.Encode(v)
	return text.Bytes(), err
}

func encodeCredential(id device.ID, c Credential) ([]byte, error) {
	return encode(record{
		Version: version, ProductKey: id.ProductKey, DeviceName: id.DeviceName,
		Kind: c.Kind, ClientID: c.ClientID, Username: c.Username, Secret: c.Secret.Reveal(),
		Source: c.Source, StoredAt: c.StoredAt.UTC(), Fingerprint: c.Fingerprint(),
	})
}

// decode reads a record of either kind into v, whose version is at found. What the JSON library says of a bad one is kept to itself: it
// quotes what it read, and that is a secret.
func decode(data []byte, v any, found *int) error {
	err := json.Unmarshal(data, v)
	if err == nil && *found == version { // as good as always: then it is read once
		return nil
	}
	var head struct {
		Version int `json:"version"`
	}
	switch headless := json.Unmarshal(data, &head); {
	case headless != nil:
		return fmt.Errorf("%w: its %d bytes are not a record", errDamaged, len(data))
	case head.Version > version:
		return &UnknownVersionError{Found: head.Version}
	case head.Version != version:
		return fmt.Errorf("%w: it has version %d", errDamaged, head.Version)
	}
	return fmt.Errorf("%w: a field is not of its type", errDamaged)
}

// decodeCredential reads what encodeCredential wrote for id.
func decodeCredential(id device.ID, data []byte) (Credential, error) {
	var r record
	if err := decode(data, &r, &r.Version); err != nil {
		return Credential{}, err
	}
	c := Credential{
		Kind: r.Kind, ClientID: r.ClientID, Username: r.Username, Secret: device.NewSecret(r.Secret),
		Source: r.Source, StoredAt: r.StoredAt.UTC(),
	}
	if err := c.Validate(); err != nil {
		return Credential{}, fmt.Errorf("%w: %w", errDamaged, err)
	}
	if r.Fingerprint != c.Fingerprint() {
		return Credential{}, fmt.Errorf("%w: its fingerprint is not that of what is in it", errDamaged)
	}
	// Not damage, and nothing to set aside: somebody copied or renamed a file.
	if owner := (device.ID{ProductKey: r.ProductKey, DeviceName: r.DeviceName}); owner != id {
		return Credential{}, fmt.Errorf("it is the credential of another device (%q): give it its old name or move it away", owner)
	}
	return c, nil
}
