package config

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Seconds is a flag that ParseSeconds reads.
func Seconds(to *time.Duration, preset time.Duration) pflag.Value {
	*to = preset
	return (*seconds)(to)
}

type seconds time.Duration

func (s *seconds) Set(text string) error {
	d, err := ParseSeconds(text)
	if err != nil {
		return errors.New(`must be whole seconds, such as "90" or "1m30s"`)
	}
	*s = seconds(d)
	return nil
}

func (s *seconds) String() string { return time.Duration(*s).String() }

func (*seconds) Type() string { return "seconds" }

// Choice is a flag that takes one of a few words. Words are compared as they are, but "_" may stand for "-".
func Choice(to *string, preset string, words []string) pflag.Value {
	*to = preset
	return &choice{to, words}
}

type choice struct {
	to    *string
	words []string
}

func (c *choice) Set(text string) error {
	word := strings.ReplaceAll(text, "_", "-")
	if !slices.Contains(c.words, word) {
		return fmt.Errorf("must be one of %s", list(c.words))
	}
	*c.to = word
	return nil
}

func (c *choice) String() string { return *c.to }

func (*choice) Type() string { return "choice" }

// Mode is a flag that takes the mode of a file in octal, as chmod does.
func Mode(to *fs.FileMode, preset fs.FileMode) pflag.Value {
	*to = preset
	return (*mode)(to)
}

type mode fs.FileMode

func (m *mode) Set(text string) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return errors.New("must be an octal mode, such as 0660")
	}
	*m = mode(n)
	return nil
}

func (m *mode) String() string { return fmt.Sprintf("%#o", uint32(*m)) }

func (*mode) Type() string { return "mode" }

func list(words []string) string { return strings.Join(words, ", ") }
