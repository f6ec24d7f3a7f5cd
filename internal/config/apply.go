package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Origin says where the value of a flag came from, for people: "flag", a variable's name, "FILE:LINE", or "" for the default.
type Origin map[string]string

// Apply gives each flag of fs that the command line did not set the value of its environment variable, or else that of the
// file, which may be nil. It refuses variables that begin like ours and set no known flag.
func Apply(fs *pflag.FlagSet, file *File, environ []string, known Known) (Origin, error) {
	variables, err := ours(environ, known)
	if err != nil {
		return nil, err
	}
	origin := Origin{}
	fs.VisitAll(func(f *pflag.Flag) {
		switch {
		case err != nil || notSettings[f.Name]:
		case f.Changed:
			origin[f.Name] = "flag"
		default:
			origin[f.Name], err = apply(fs, f, file, variables)
		}
	})
	return origin, err
}

func apply(fs *pflag.FlagSet, f *pflag.Flag, file *File, variables map[string]string) (origin string, err error) {
	for _, name := range names(f) {
		if value, ok := variables[Variable(name)]; ok {
			if err := fs.Set(f.Name, value); err != nil {
				return "", fmt.Errorf("the environment variable %s: %w", Variable(name), cause(err))
			}
			return Variable(name), nil
		}
	}
	if file == nil {
		return "", nil
	}
	for _, name := range names(f) {
		node, ok := file.values[Key(name)]
		if !ok {
			continue
		}
		values, err := file.list(node, Key(name))
		if err != nil {
			return "", err
		}
		if len(values) != 1 && !repeatable(f) {
			return "", file.errorf(node, "%s: takes one value, not %d", Key(name), len(values))
		}
		for _, value := range values {
			if err := fs.Set(f.Name, value.Value); err != nil {
				return "", file.errorf(value, "%s: %w", Key(name), cause(err))
			}
		}
		return file.at(node), nil
	}
	return "", nil
}

// repeatable reports whether a flag may be given more than once.
func repeatable(f *pflag.Flag) bool {
	_, ok := f.Value.(pflag.SliceValue)
	return ok
}

// cause is err without pflag's own preface, which speaks of a flag where the user wrote none.
func cause(err error) error {
	if invalid, ok := err.(*pflag.InvalidValueError); ok { //nolint:errorlint // pflag returns it unwrapped
		return fmt.Errorf("%q: %w", invalid.GetValue(), invalid.Unwrap())
	}
	return err
}

// kubernetes are the variables that Kubernetes gives to every container beside a Service named linkkit-sidecar. They are not
// meant for us, even where they look so (LINKKIT_SIDECAR_PORT=tcp://10.0.0.1:443).
var kubernetes = regexp.MustCompile(`^LINKKIT_SIDECAR_(SERVICE_(HOST|PORT(_.*)?)|PORT_[0-9]+_(TCP|UDP|SCTP)(_.*)?)=|^LINKKIT_SIDECAR_PORT=(tcp|udp|sctp)://`)

// binaryVariable names the command for the libraries that start it. It is no setting of the command's own.
const binaryVariable = Prefix + "BINARY"

// ours picks our variables. One that is empty counts as not set: files that start containers often leave them so.
func ours(environ []string, known Known) (map[string]string, error) {
	found := map[string]string{}
	var unknown []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case !strings.HasPrefix(name, Prefix) || value == "" || name == binaryVariable || kubernetes.MatchString(entry):
		case !known.variable(name):
			unknown = append(unknown, name)
		default:
			found[name] = value
		}
	}
	if len(unknown) > 0 {
		name := slices.Min(unknown)
		advice := known.advice(strings.TrimPrefix(name, Prefix), Variable)
		if advice == "" {
			advice = "; see `linkkit-sidecar help` for how flags become variables"
		}
		return nil, fmt.Errorf("the environment variable %s sets nothing that there is%s", name, advice)
	}
	return found, nil
}
