package cli

import (
	"os"

	"golang.org/x/term"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
)

// styled is text that may hold our own escape sequences: lines.printf leaves it as it is.
type styled string

// palette colours text, or leaves it plain.
type palette bool

const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// terminal reports whether results go to a person's screen.
func (r *run) terminal() bool {
	f, ok := r.Stdout.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colour is for terminals that have not asked for none (https://no-color.org).
func (r *run) colour() palette {
	return palette(r.getenv("NO_COLOR") == "" && r.getenv("TERM") != "dumb" && r.terminal())
}

func (p palette) paint(code, text string) styled {
	text = printable(text)
	if !p || text == "" || code == "" {
		return styled(text)
	}
	return styled("\x1b[" + code + "m" + text + "\x1b[0m")
}

func (p palette) state(s pb.LinkState) styled { return p.paint(stateColour(s), stateName(s)) }

func stateColour(s pb.LinkState) string {
	switch s {
	case pb.LinkState_LINK_STATE_ONLINE:
		return green
	case pb.LinkState_LINK_STATE_CONNECTING, pb.LinkState_LINK_STATE_WAITING:
		return yellow
	case pb.LinkState_LINK_STATE_REJECTED:
		return red
	default:
		return ""
	}
}
