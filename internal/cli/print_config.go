package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/config"
)

// printConfig prints the settings in force as a configuration file, each with where it comes from.
func (r *run) printConfig(fs *pflag.FlagSet) error {
	w := &lines{w: r.Stdout}
	fs.VisitAll(func(f *pflag.Flag) {
		origin, known := r.origin[f.Name]
		if !known || f.Name == "config" {
			return
		}
		if origin == "" {
			origin = "default"
		}
		w.printf("%-56s # %s\n", config.Key(f.Name)+": "+asYAML(f.Value), origin)
	})
	if r.file != nil {
		w.printf("# %s declares %s, and %s\n", r.file.Path, plural(uint64(len(r.file.Devices)), "device", "devices"), describePolicy(r.file.Policy))
	}
	return w.err
}

// asYAML is the value of a flag as it would stand in the file, on one line.
func asYAML(v pflag.Value) string {
	text := []string{v.String()}
	list, isList := v.(pflag.SliceValue)
	if isList {
		text = list.GetSlice()
	}
	for i, s := range text {
		if s == "" || strings.ContainsAny(s, "#:{}[],&*!|>'\"%@` ") {
			text[i] = strconv.Quote(s)
		}
	}
	if isList {
		return "[" + strings.Join(text, ", ") + "]"
	}
	return text[0]
}

func describePolicy(p *config.Policy) string {
	if p == nil {
		return "no policy: who can open the socket may do everything"
	}
	return "a policy of " + plural(uint64(len(p.Rules)), "rule", "rules")
}
