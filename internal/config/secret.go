package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
)

// maxSecret is more than any secret of the platform has.
const maxSecret = 4096

// Secrets reads secrets from files; "-" is standard input, which can be read once.
type Secrets struct {
	Stdin io.Reader
	used  bool
}

// Read is the text of the file without the end of its line. Its errors never quote it.
func (s *Secrets) Read(path string) (device.Secret, error) {
	name, r := path, s.Stdin
	if path == "-" {
		name = "standard input"
		if s.used {
			return device.Secret{}, errors.New("two secrets cannot both come from standard input: put one of them into a file")
		}
		s.used = true
	} else {
		f, err := os.Open(path)
		if err != nil {
			return device.Secret{}, fmt.Errorf("cannot read the secret: %w", err)
		}
		defer func() { _ = f.Close() }()
		r = f
	}
	data, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err != nil {
		return device.Secret{}, fmt.Errorf("cannot read the secret from %s: %w", name, err)
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case secret == "":
		return device.Secret{}, fmt.Errorf("%s is empty: a secret was expected in it", name)
	case len(secret) > maxSecret:
		return device.Secret{}, fmt.Errorf("%s has more than %d bytes: that is no secret of the platform", name, maxSecret)
	case strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return device.Secret{}, fmt.Errorf("%s must hold the secret alone, on one line, without spaces", name)
	}
	return device.NewSecret(secret), nil
}
