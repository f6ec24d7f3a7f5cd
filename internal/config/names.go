package config

import (
	"strings"

	"github.com/spf13/pflag"
)

// Prefix begins the name of every environment variable that is ours.
const Prefix = "LINKKIT_SIDECAR_"

// Variable is the environment variable of a flag: LINKKIT_SIDECAR_STATE_DIR of state-dir.
func Variable(flag string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Key is the key of a flag in the file: state_dir of state-dir.
func Key(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// also is the annotation that holds a flag's other names.
const also = "linkkit-sidecar/also"

// Also gives a flag further names for its variable and its key. They count when none of the names before is given.
func Also(fs *pflag.FlagSet, flag string, names ...string) {
	if err := fs.SetAnnotation(flag, also, names); err != nil {
		panic(err) // the flag does not exist: a mistake in this program that shows at every start
	}
}

// notSettings are flags that ask for something now. They have no variable and no key.
var notSettings = map[string]bool{"help": true, "version": true, "print-config": true}

// names are the flag's names, its own first.
func names(f *pflag.Flag) []string {
	return append([]string{f.Name}, f.Annotations[also]...)
}

// Known is the set of flags of all commands. One file and one environment serve them all, so a setting of another command is
// no mistake.
type Known map[string]bool

// Add adds the flags of a command.
func (k Known) Add(fs *pflag.FlagSet) {
	fs.VisitAll(func(f *pflag.Flag) {
		if !notSettings[f.Name] {
			k[f.Name] = true
		}
	})
}

// variable reports whether an environment variable sets a known flag.
func (k Known) variable(name string) bool { return k[flagOf(strings.TrimPrefix(name, Prefix))] }

// key reports whether a key of the file sets a known flag.
func (k Known) key(name string) bool { return !strings.Contains(name, "-") && k[flagOf(name)] }

func flagOf(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "-") }

// advice is what to say of an unknown name: the file that a secret belongs into, or a name that is spelt nearly so.
func (k Known) advice(name string, spell func(flag string) string) string {
	if flag := k.SecretFlag(flagOf(name)); flag != "" {
		return "; secrets come from files only: put it into one, and name that with " + spell(flag)
	}
	if near := closest(spell(flagOf(name)), k, spell); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// SecretFlag is the flag that takes a file in place of a flag that does not exist because it would take a secret; "" otherwise.
func (k Known) SecretFlag(flag string) string {
	if file := flag + "-file"; !k[flag] && k[file] {
		return file
	}
	return ""
}
