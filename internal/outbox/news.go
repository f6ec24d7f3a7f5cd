package outbox

import (
	"slices"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
)

// maxRanges is how many ranges one Ended has at most.
const maxRanges = 100

// Ended is messages that have ended in the same way.
type Ended struct {
	Outcome message.Outcome
	Why     error // with Expired and Dropped
	Count   uint64
	Ranges  []Range
}

// Range is consecutive numbers.
type Range struct{ First, Last uint64 }

type end struct {
	outcome message.Outcome
	why     error
}

// news is what is to be told of messages that have ended.
type news map[end][]uint64

func (n *news) add(outcome message.Outcome, why error, sequence uint64) {
	if *n == nil {
		*n = news{}
	}
	how := end{outcome, why}
	(*n)[how] = append((*n)[how], sequence)
}

// take returns what has come together, and begins anew.
func (n *news) take() (all []Ended) {
	for how, sequences := range *n {
		slices.Sort(sequences)
		told := Ended{Outcome: how.outcome, Why: how.why}
		for _, s := range sequences {
			last := len(told.Ranges) - 1
			if last >= 0 && told.Ranges[last].Last+1 == s {
				told.Ranges[last].Last = s
				told.Count++
				continue
			}
			if len(told.Ranges) == maxRanges {
				all = append(all, told)
				told = Ended{Outcome: how.outcome, Why: how.why}
			}
			told.Ranges = append(told.Ranges, Range{s, s})
			told.Count++
		}
		all = append(all, told)
	}
	*n = nil
	slices.SortFunc(all, func(a, b Ended) int { return int(a.Outcome) - int(b.Outcome) })
	return all
}
