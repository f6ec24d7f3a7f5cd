package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	pb "github.com/linkkit-sidecar/linkkit-sidecar/gen/linkkit_sidecar/v1"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

func itoa(n int) string { return strconv.Itoa(n) }

// follower is an app that reads events.
type follower struct {
	t      *testing.T
	stream grpc.ServerStreamingClient[pb.EventsResponse]
	stop   func()
}

func follow(t *testing.T, c pb.ConnectivityServiceClient, req *pb.EventsRequest) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	stream, err := c.Events(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	return &follower{t, stream, cancel}
}

func (f *follower) next() *pb.EventsResponse {
	f.t.Helper()
	e, err := f.stream.Recv()
	if err != nil {
		f.t.Fatal(err)
	}
	return e
}

// warn publishes an event that tells its number.
func warn(log *event.Log, id device.ID, n int) {
	log.Publish(event.Warning{Code: event.WarnPlainTCP, Detail: itoa(n)}, event.Status{Device: id, State: event.Online})
}

func TestEventsBeginWithHowThingsStandAndGoOn(t *testing.T) {
	w := serve(t)
	w.devices.become(dev1, event.Waiting, event.Lost{Cause: event.CauseNetwork, Detail: "cut", Held: 1500 * time.Millisecond})
	c := w.client()
	all := follow(t, c, &pb.EventsRequest{})
	first := all.next()
	if first.GetSnapshot() == nil || first.GetDevice() != nil || first.GetCursor().GetEpoch() == "" {
		t.Fatalf("%v", first)
	}
	if len(first.GetSnapshot().GetDevices()) == 0 { // the log had not shown it yet, so it comes next
		if lost := all.next().GetLost(); lost.GetCause() != pb.Cause_CAUSE_NETWORK || lost.GetHeldMs() != 1500 {
			t.Errorf("%v", lost)
		}
	} else if s := first.GetSnapshot().GetDevices()[0]; s.GetState() != pb.LinkState_LINK_STATE_WAITING {
		t.Errorf("%v", s)
	}

	some := follow(t, c, &pb.EventsRequest{Devices: []*pb.Device{named(dev2)}, Kinds: []pb.EventKind{pb.EventKind_EVENT_KIND_ONLINE}})
	if s := some.next().GetSnapshot(); s == nil || len(s.GetDevices()) != 0 {
		t.Errorf("%v", s)
	}
	w.devices.become(dev1, event.Online, event.WentOnline{Attempt: 3, Endpoint: "localhost:8883"})
	w.devices.become(dev2, event.Idle, event.Disconnected{Cause: event.CauseRequested})
	w.devices.become(dev2, event.Online, event.WentOnline{Attempt: 4})
	e := all.next()
	if o := e.GetOnline(); o.GetAttempt() != 3 || o.GetEndpoint() != "localhost:8883" || e.GetDevice().GetDeviceName() != "dev-001" || e.GetTime() == nil {
		t.Errorf("%v", e)
	}
	if d := all.next().GetDisconnected(); d.GetCause() != pb.Cause_CAUSE_REQUESTED {
		t.Errorf("%v", d)
	}
	if o := some.next().GetOnline(); o.GetAttempt() != 4 {
		t.Errorf("the choice of devices and kinds is not kept: %v", o)
	}
}

func TestEventsGoOnFromACursor(t *testing.T) {
	w := serve(t)
	c := w.client()
	before := follow(t, c, &pb.EventsRequest{})
	before.next()
	for n := range 5 {
		warn(w.log, dev1, n)
	}
	var cursor *pb.Cursor
	for n := range 3 {
		e := before.next()
		if e.GetWarning().GetDetail() != itoa(n) {
			t.Fatalf("%v", e)
		}
		cursor = e.GetCursor()
	}
	before.stop()
	after := follow(t, c, &pb.EventsRequest{After: cursor})
	if s := after.next().GetSnapshot(); s == nil {
		t.Fatal("no snapshot")
	}
	for n := 3; n < 5; n++ {
		if e := after.next(); e.GetWarning().GetDetail() != itoa(n) {
			t.Fatalf("%v, want %d", e, n)
		}
	}
	foreign := follow(t, c, &pb.EventsRequest{After: &pb.Cursor{Epoch: "another", Sequence: 3}})
	if s := foreign.next().GetSnapshot(); s == nil {
		t.Fatal("no snapshot")
	}
	if l := foreign.next().GetEventsLost(); l == nil || l.GetCount() != 0 || l.GetDetail() == "" {
		t.Errorf("%v", l)
	}
	if e := foreign.next(); e.GetWarning().GetDetail() != "0" {
		t.Errorf("%v", e)
	}
}

func TestWhatLeftTheJournalIsToldAsLost(t *testing.T) {
	log := newLog(t, store.KeepEvents(50, 1<<20))
	w := serveLog(t, log)
	c := w.client()
	live := follow(t, c, &pb.EventsRequest{})
	cursor := live.next().GetCursor()
	const total = 1500 // more than the log keeps in memory
	for n := range total {
		warn(log, dev1, n)
		if live.next().GetWarning().GetDetail() != itoa(n) {
			t.Fatal("a reader that keeps up missed something")
		}
	}
	late := follow(t, c, &pb.EventsRequest{After: cursor})
	if s := late.next().GetSnapshot(); s == nil {
		t.Fatal("no snapshot")
	}
	lost := late.next().GetEventsLost()
	if lost.GetCount() == 0 {
		t.Fatalf("%v", lost)
	}
	if s := late.next().GetSnapshot(); len(s.GetDevices()) != 1 {
		t.Fatalf("how things stand is not told again: %v", s)
	}
	for n := int(lost.GetCount()); n < total; n++ {
		if e := late.next(); e.GetWarning().GetDetail() != itoa(n) {
			t.Fatalf("%v, want %d", e, n)
		}
	}
}

// One of 200 readers takes nothing. The others see every event meanwhile, and it is told what it missed when it reads again.
func TestAReaderThatStandsStillDelaysNobodyAndIsToldWhatItMissed(t *testing.T) {
	const readers, total = 200, 1300
	log := newLog(t, store.KeepEvents(20, 1<<20))
	w := serveLog(t, log)
	padding := strings.Repeat("x", 4<<10) // so that little fits on the way to the one that stands still
	still := follow(t, w.client(), &pb.EventsRequest{})
	still.next()

	conns := []pb.ConnectivityServiceClient{w.client(), w.client(), w.client()}
	var ready, done sync.WaitGroup
	errs, took, ends := make(chan error, readers), make(chan struct{}), make(chan struct{})
	followers := 0 // of everything
	for i := range readers - 1 {
		// Most follow a device to which little happens, so that the test does not take minutes; ten follow all.
		req := &pb.EventsRequest{Devices: []*pb.Device{named(dev2)}}
		want := total / 50
		if i%20 == 0 {
			req, want = &pb.EventsRequest{}, total
			followers++
		}
		f := follow(t, conns[i%len(conns)], req)
		ready.Add(1)
		done.Go(func() {
			if _, err := f.stream.Recv(); err != nil { // the snapshot
				errs <- err
				ready.Done()
				return
			}
			ready.Done()
			for n := range want {
				e, err := f.stream.Recv()
				if err != nil {
					errs <- err
					return
				}
				step := total / want
				if number, _, _ := strings.Cut(e.GetWarning().GetDetail(), " "); number != itoa(n*step) {
					errs <- fmt.Errorf("reader %d got %.80v, want %d", i, e, n*step)
					return
				}
				if want == total {
					select {
					case took <- struct{}{}:
					case <-ends:
					}
				}
			}
		})
	}
	ready.Wait()
	for n := range total {
		id := dev1
		if n%50 == 0 {
			id = dev2
		}
		log.Publish(event.Warning{Code: event.WarnPlainTCP, Detail: itoa(n) + " " + padding}, event.Status{Device: id, State: event.Online})
		// The journal is kept so small that readers miss something who fall behind by themselves.
		for range followers {
			select {
			case <-took:
			case err := <-errs:
				close(ends)
				t.Fatal(err)
			}
		}
	}
	done.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}

	seen, lost := 0, uint64(0)
	for seen+int(lost) < total {
		switch e := still.next(); {
		case e.GetWarning() != nil:
			seen++
		case e.GetEventsLost() != nil:
			lost += e.GetEventsLost().GetCount()
		}
	}
	if lost == 0 || seen+int(lost) != total {
		t.Errorf("it saw %d and was told that it lost %d, of %d", seen, lost, total)
	}
}

func TestEventsEndWithAReasonWhenTheSidecarStops(t *testing.T) {
	w := serve(t)
	f := follow(t, w.client(), &pb.EventsRequest{})
	f.next()
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	_, err := f.stream.Recv()
	if r := refused(t, err, codes.Unavailable, "SHUTTING_DOWN"); r.retry <= 0 {
		t.Error("it does not say when to come again")
	}
	if got := trailerReason(f.stream.Trailer()); got != "SHUTTING_DOWN" {
		t.Errorf("the trailer says %q", got)
	}
}

func TestAReaderThatStandsStillIsCutOffWhenTheSidecarStops(t *testing.T) {
	w := serve(t, func(o *Options) { o.DrainTimeout = 50 * time.Millisecond })
	still := follow(t, w.client(), &pb.EventsRequest{})
	still.next()
	other := follow(t, w.client(), &pb.EventsRequest{})
	other.next()
	const total = 200
	padding := strings.Repeat("x", 64<<10)
	for range total {
		w.log.Publish(event.Warning{Detail: padding}, event.Status{Device: dev1, State: event.Online})
	}
	for range total {
		other.next()
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; ; n++ {
		if _, err := still.stream.Recv(); err != nil {
			break
		}
	}
	if n >= total {
		t.Errorf("it was sent all %d, so it never stood still", n)
	}
}

func TestEveryKindOfEventIsTranslated(t *testing.T) {
	now := time.Now()
	for kind, body := range map[pb.EventKind]event.Body{
		pb.EventKind_EVENT_KIND_CONNECTING:     event.Attempting{Attempt: 1, Endpoint: "h:1"},
		pb.EventKind_EVENT_KIND_ONLINE:         event.WentOnline{SessionPresent: true, ConnackTime: now, Endpoint: "h:1", Attempt: 1},
		pb.EventKind_EVENT_KIND_REFUSED:        event.Refused{Code: 4, Meaning: "m", Advice: "a", WillRetry: true, NextAttempt: now},
		pb.EventKind_EVENT_KIND_ATTEMPT_FAILED: event.AttemptFailed{Cause: event.CauseDNS, Detail: "d", NextAttempt: now, Attempt: 1},
		pb.EventKind_EVENT_KIND_LOST:           event.Lost{Cause: event.CauseNetwork, Detail: "d", NextAttempt: now, Held: time.Second},
		pb.EventKind_EVENT_KIND_DISCONNECTED:   event.Disconnected{Cause: event.CauseShutdown},
		pb.EventKind_EVENT_KIND_REGISTERED: event.Registered{
			Method: "PRE_REGISTERED", Credential: event.CredentialInfo{Kind: "device_secret", Fingerprint: "f", Source: "s", StoredAt: now},
		},
		pb.EventKind_EVENT_KIND_REGISTRATION_FAILED: event.RegistrationFailed{
			Method: "PRE_REGISTERED", Cause: event.CauseConnackBadCredentials, Detail: "d", Code: 4, Interrupted: true,
		},
		pb.EventKind_EVENT_KIND_SUBSCRIPTION_REFUSED: event.SubscriptionRefused{Filter: "f"},
		pb.EventKind_EVENT_KIND_TAKEOVER_SUSPECTED:   event.TakeoverSuspected{Losses: 3, NextAttempt: now},
		pb.EventKind_EVENT_KIND_MESSAGES_DROPPED:     event.MessagesDropped{Count: 1, Reason: event.DropUnclaimed, Topic: "t"},
		pb.EventKind_EVENT_KIND_WARNING:              event.Warning{Code: event.WarnPlainTCP, Detail: "d"},
		pb.EventKind_EVENT_KIND_FORGOTTEN:            event.Forgotten{},
		pb.EventKind_EVENT_KIND_STORED_ENDED: event.StoredEnded{
			Outcome: int(message.Expired), Reason: event.EndExpired, Count: 3, Ranges: []event.SequenceRange{{First: 1, Last: 3}},
		},
		// Those that no request can choose.
		pb.EventKind(event.KindSnapshot): event.Snapshot{Statuses: []event.Status{{Device: dev1}}, More: true},
		pb.EventKind(event.KindGap):      event.Gap{Count: 1, Detail: "d"},
	} {
		if body.Kind() != event.Kind(kind) {
			t.Errorf("%T is %d, and in the contract %v", body, body.Kind(), kind)
		}
		to := entryTo(event.Entry{Cursor: event.Cursor{Epoch: "e", Sequence: 7}, Event: event.Event{Time: now, Device: dev1, Body: body}})
		inner := to.ProtoReflect().WhichOneof(to.ProtoReflect().Descriptor().Oneofs().ByName("event"))
		if inner == nil {
			t.Errorf("%T is not translated", body)
			continue
		}
		if name, ok := pb.EventKind_name[int32(kind)]; ok && "EVENT_KIND_"+strings.ToUpper(string(inner.Name())) != name {
			t.Errorf("%T became %s, not %s", body, inner.Name(), name)
		}
		// Every field above has a value, so every field of the message must have one.
		told := to.ProtoReflect().Get(inner).Message()
		for i := range told.Descriptor().Fields().Len() {
			if field := told.Descriptor().Fields().Get(i); !told.Has(field) {
				t.Errorf("%T: %s is left out", body, field.Name())
			}
		}
		if !proto.Equal(to.GetCursor(), &pb.Cursor{Epoch: "e", Sequence: 7}) || to.GetDevice().GetDeviceName() != "dev-001" || !to.GetTime().AsTime().Equal(now) {
			t.Errorf("%v", to)
		}
	}
	for kind := range pb.EventKind_name {
		if kind != 0 && !slices.Contains(allKinds, event.Kind(kind)) {
			t.Errorf("no event is of kind %v", pb.EventKind(kind))
		}
	}
}

var allKinds = []event.Kind{
	event.KindConnecting, event.KindOnline, event.KindRefused, event.KindAttemptFailed, event.KindLost, event.KindDisconnected, event.KindRegistered,
	event.KindRegistrationFailed, event.KindSubscriptionRefused, event.KindTakeoverSuspected, event.KindMessagesDropped, event.KindWarning, event.KindForgotten,
	event.KindStoredEnded,
}
