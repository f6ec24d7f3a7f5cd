package report

import (
	"fmt"
	"os"
	"strings"
)

// What stands around the generated part of a page.
const (
	begin = "<!-- generated: make bench writes it; everything up to the end mark is replaced -->\n"
	end   = "<!-- end of generated -->"
)

// Insert replaces the generated part of a page by the machine and the targets of this run.
func (r Report) Insert(page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return fmt.Errorf("%s has no generated part between %q and %q", page, begin, end)
	}
	var b strings.Builder
	r.summary(&b)
	return os.WriteFile(page, []byte(before+begin+b.String()+end+after), 0o600)
}
