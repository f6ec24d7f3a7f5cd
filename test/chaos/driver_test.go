package chaos

import (
	"math/rand/v2"
	"time"

	sandboxv1 "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/sandbox/v1"
)

// deed is what a round does.
type deed string

const (
	killSidecar      deed = "sidecar killed"
	terminateSidecar deed = "sidecar terminated"
	cutLink          deed = "link cut"
	cutLinkLater     deed = "link cut after some bytes"
	closeLink        deed = "link closed"
	kickDevice       deed = "device kicked"
	restartProducer  deed = "producer restarted"
	restartConsumer  deed = "consumer restarted"
	hushConsumer     deed = "consumer restarted with unanswered deliveries"
	flood            deed = "outbox flooded"
	setFault         deed = "fault set"
	restartPlatform  deed = "platform restarted"
	nothing          deed = "nothing done"
)

// round is all that is decided about one.
type round struct {
	deed      deed
	pause     time.Duration
	n         int // bytes, or messages
	direction direction
	fault     *sandboxv1.Fault
	hurried   bool // the platform is killed, an app's second life is short
	mute      bool // a link may be up that never acknowledges: the deed must not wait for it
}

// weights are how often each deed is done, out of their sum.
var weights = []struct {
	deed   deed
	weight int
}{
	{killSidecar, 14},
	{terminateSidecar, 8},
	{cutLink, 14},
	{cutLinkLater, 14},
	{closeLink, 4},
	{kickDevice, 4},
	{restartProducer, 8},
	{restartConsumer, 5},
	{hushConsumer, 5},
	{flood, 5},
	{setFault, 12},
	{restartPlatform, 3},
	{nothing, 6},
}

// maxFarewells is how many links may end in an orderly way before the sidecar is started again: of three short-lived ones in a row it
// concludes that another program has the same identity, and waits for minutes.
const maxFarewells = 2

// plan decides everything, before anything happens: it depends on the seed alone.
func plan(seed uint64, rounds int) (all []round) {
	r := rand.New(rand.NewPCG(seed, 0))
	sum := 0
	for _, w := range weights {
		sum += w.weight
	}
	farewells, mute := 0, false
	for range rounds {
		next := round{pause: time.Duration(20+r.IntN(230)) * time.Millisecond, direction: direction(r.IntN(2)), hurried: r.IntN(2) == 0}
		at := r.IntN(sum)
		for _, w := range weights {
			if at -= w.weight; at < 0 {
				next.deed = w.deed
				break
			}
		}
		orderly := next.deed == closeLink || next.deed == kickDevice || next.deed == restartPlatform
		if orderly && farewells == maxFarewells {
			next.deed, orderly = cutLink, false
		}
		next.mute = mute
		switch next.deed {
		case killSidecar, terminateSidecar:
			farewells = 0
			mute = mute && next.deed == killSidecar
		case restartPlatform:
			mute = false
		case flood:
			next.n = 300 + r.IntN(600)
		case cutLinkLater:
			next.n = r.IntN(6000)
		case setFault:
			next.fault = &sandboxv1.Fault{Connections: 1}
			switch r.IntN(6) {
			case 0:
				next.fault.Effect = &sandboxv1.Fault_SwallowPuback{SwallowPuback: true}
				mute = true
			case 1:
				next.fault.Effect = &sandboxv1.Fault_CutAfterBytes{CutAfterBytes: 4 + uint64(r.IntN(3000))}
			case 2:
				next.fault.Effect = &sandboxv1.Fault_CutReceivedAfterBytes{CutReceivedAfterBytes: 1 + uint64(r.IntN(5000))}
			case 3:
				next.fault.Effect = &sandboxv1.Fault_CutPublishAfterBytes{CutPublishAfterBytes: 1 + uint32(r.IntN(40))}
			case 4:
				next.fault.Effect = &sandboxv1.Fault_CutPubackMissingBytes{CutPubackMissingBytes: 1 + uint32(r.IntN(4))}
			case 5:
				next.fault.Effect = &sandboxv1.Fault_Duplicate{Duplicate: true}
			}
		default: // the others need nothing to be drawn
		}
		if orderly {
			farewells++
		}
		all = append(all, next)
	}
	return all
}
