package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// What follows reads YAML more strictly than the library decodes it, and names the line, the path and what was expected.

var errUnknownKey = errors.New("there is no such key")

// fields says what to do with each key of a mapping. The key "" stands for all others.
type fields map[string]func(key string, value *yaml.Node) error

// object reads a mapping. path is that of the mapping itself, "" for the file.
func (f *File) object(n *yaml.Node, path string, known fields) error {
	n = followed(n)
	if n.Kind != yaml.MappingNode {
		return f.errorf(n, "%s: must be a mapping, KEY: VALUE on a line of its own", cmp.Or(path, "the file"))
	}
	seen := map[string]int{}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode { // an alias has the anchor's name where a key has its own
			return f.errorf(key, "%s: must have plain words as keys", cmp.Or(path, "the file"))
		}
		name := key.Value
		if line, twice := seen[name]; twice {
			return f.errorf(key, "%s: is given twice, first on line %d", joined(path, name), line)
		}
		seen[name] = key.Line
		read := known[name]
		if read == nil || name == "" {
			read = known[""]
		}
		if read == nil {
			return f.errorf(key, "%s: %w; known are %s", joined(path, name), errUnknownKey, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		err := read(joined(path, name), value)
		if _, placed := errors.AsType[*Error](err); err != nil && !placed {
			err = f.errorf(key, "%s: %w", joined(path, name), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// each reads a sequence; the path of an item is PATH[INDEX].
func (f *File) each(n *yaml.Node, path string, item func(path string, n *yaml.Node) error) error {
	n = followed(n)
	if n.Kind != yaml.SequenceNode {
		return f.errorf(n, "%s: must be a list, each item after a \"-\"", path)
	}
	for i, value := range n.Content {
		path := fmt.Sprintf("%s[%d]", path, i)
		err := item(path, value)
		if _, placed := errors.AsType[*Error](err); err != nil && !placed {
			err = f.errorf(value, "%s: %w", path, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// scalar is a single value as it stands in the file.
func (f *File) scalar(n *yaml.Node, path string) (*yaml.Node, error) {
	n = followed(n)
	switch {
	case n.Kind != yaml.ScalarNode:
		return nil, f.errorf(n, "%s: must be a single value", path)
	case n.Tag == "!!null":
		return nil, f.errorf(n, "%s: has no value; leave the key out for the default", path)
	}
	return n, nil
}

// list is a single value, or a sequence of them.
func (f *File) list(n *yaml.Node, path string) (values []*yaml.Node, err error) {
	if followed(n).Kind != yaml.SequenceNode {
		value, err := f.scalar(n, path)
		return []*yaml.Node{value}, err
	}
	err = f.each(n, path, func(path string, n *yaml.Node) error {
		value, err := f.scalar(n, path)
		values = append(values, value)
		return err
	})
	return values, err
}

// value reads a single value by a function that understands its text.
func value[T any](f *File, to *T, parse func(string) (T, error)) func(string, *yaml.Node) error {
	return func(path string, n *yaml.Node) error {
		n, err := f.scalar(n, path)
		if err != nil {
			return err
		}
		v, err := parse(n.Value)
		if err != nil {
			return f.errorf(n, "%s: %w", path, err)
		}
		*to = v
		return nil
	}
}

// values reads a list of single values.
func values[T any](f *File, to *[]T, parse func(string) (T, error)) func(string, *yaml.Node) error {
	return func(path string, n *yaml.Node) error {
		return f.each(n, path, func(path string, n *yaml.Node) error {
			var v T
			if err := value(f, &v, parse)(path, n); err != nil {
				return err
			}
			*to = append(*to, v)
			return nil
		})
	}
}

// followed is the node that an alias stands for.
func followed(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func joined(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
