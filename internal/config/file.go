package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// File is what a configuration file says.
type File struct {
	Path    string
	Devices []Device // to be kept online from the start
	Policy  *Policy  // nil: the socket's mode decides who may call
	Limits  Limits

	values map[string]*yaml.Node // of keys that are flags
}

// Error says what is wrong in a configuration file, and where.
type Error struct {
	Path string
	Line int
	Err  error
}

// Error begins with FILE:LINE, as compilers write it.
func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d: %v", e.Path, e.Line, e.Err)
}

// Unwrap is what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Read reads a configuration file. Its errors are *Error, or say why the file cannot be opened.
func Read(path string, known Known) (*File, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	defer func() { _ = r.Close() }()
	return parse(path, r, known)
}

func parse(path string, r io.Reader, known Known) (*File, error) {
	f := &File{Path: path, values: map[string]*yaml.Node{}}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return f, nil
	} else if err != nil {
		return nil, f.syntax(err, text)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		return nil, f.errorf(&second, "a second document begins here; one is taken")
	} else if !errors.Is(err, io.EOF) {
		return nil, f.syntax(err, text)
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" { // comments only
		return f, nil
	}
	err = f.object(root, "", fields{
		"devices": f.devices,
		"policy":  f.policy,
		"limits":  f.limits,
		"": func(key string, value *yaml.Node) error {
			if !known.key(key) || key == "config" {
				return fmt.Errorf("%w%s", errUnknownKey, known.advice(key, Key))
			}
			f.values[key] = value
			return nil
		},
	})
	return f, err
}

// syntax is a YAML error as FILE:LINE: its text begins with "yaml: line N: ". The library leaves the line out when it is the first,
// when a character is none of YAML's, and when an anchor does not exist.
func (f *File) syntax(err error, text []byte) error {
	problem := strings.TrimPrefix(err.Error(), "yaml: ")
	if rest, ok := strings.CutPrefix(problem, "line "); ok {
		if number, what, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(number); err == nil {
				return &Error{f.Path, line, errors.New(what)}
			}
		}
	}
	before := 0
	if anchor := unknownAnchor.FindStringSubmatch(problem); anchor != nil {
		before = bytes.Index(text, []byte("*"+anchor[1]))
	} else if strings.Contains(problem, "UTF-8") || strings.HasPrefix(problem, "control characters") {
		before = illegible(text)
	}
	return &Error{f.Path, 1 + bytes.Count(text[:max(0, before)], []byte("\n")), errors.New(problem)}
}

var unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)

// illegible is where the first character is that cannot stand in YAML.
func illegible(text []byte) int {
	for at := 0; at < len(text); {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 || unicode.IsControl(r) && !unicode.IsSpace(r) || r == '\v' || r == '\f' || r == 0xFFFE || r == 0xFFFF {
			return at
		}
		at += size
	}
	return 0
}

func (f *File) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", f.Path, n.Line) }

func (f *File) errorf(n *yaml.Node, format string, args ...any) error {
	return &Error{f.Path, n.Line, fmt.Errorf(format, args...)}
}
