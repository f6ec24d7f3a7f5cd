package credential

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/statedir"
)

// ErrKeyNeeded means that credentials are encrypted and no key file was given.
var ErrKeyNeeded = errors.New("the credentials are encrypted and there is no key file")

// ErrWrongKey means that credentials were encrypted to a key that is not in the key file.
var ErrWrongKey = errors.New("the key file does not open the credentials")

// key encrypts files at rest. The first identity of the key file encrypts, all of them decrypt: to change keys, put a
// new one in front, restart (which encrypts everything again) and then take the old one out.
type key struct {
	identities []age.Identity
	recipient  age.Recipient // of identities[0]
}

// readKey reads an age identity file. What the age library says of a bad one is kept to itself: it can quote the file.
func readKey(path string) (*key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key file: %w", err)
	}
	defer func() { _ = f.Close() }()
	if err := statedir.Private(f); err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	identities, err := age.ParseIdentities(f)
	if err != nil {
		return nil, fmt.Errorf("%s is no age identity file: it must have a line that begins with AGE-SECRET-KEY-1, as age-keygen makes it", path)
	}
	k := &key{identities: identities}
	switch first := identities[0].(type) {
	case *age.X25519Identity:
		k.recipient = first.Recipient()
	case *age.HybridIdentity:
		k.recipient = first.Recipient()
	default:
		return nil, fmt.Errorf("%s begins with a key of a kind (%T) that cannot encrypt", path, first)
	}
	return k, nil
}

func (k *key) seal(text []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := age.Encrypt(&out, k.recipient)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(text)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// open decrypts. old says that it took another than the first key. A nil key opens nothing.
//
// A file whose few bytes about the key are damaged cannot be told from one for another key: it counts as the latter,
// which leaves it where it is.
func (k *key) open(data []byte) (text []byte, old bool, err error) {
	if k == nil {
		return nil, false, ErrKeyNeeded
	}
	for i, identity := range k.identities {
		r, err := age.Decrypt(bytes.NewReader(data), identity)
		if _, wrong := errors.AsType[*age.NoIdentityMatchError](err); wrong {
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("%w: %w", errDamaged, err)
		}
		if text, err = io.ReadAll(r); err != nil {
			return nil, false, fmt.Errorf("%w: %w", errDamaged, err)
		}
		return text, i > 0, nil
	}
	return nil, false, ErrWrongKey
}
