package conn

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/credential"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/event"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/message"
	bolt "github.com/linkkit-sidecar/linkkit-sidecar/internal/store"
)

func TestMain(m *testing.M) {
	if len(childArgs()) > 0 {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

var (
	dev1 = device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: "dev-001"}
	dev2 = device.ID{ProductKey: "a1B2c3D4e5F", DeviceName: "dev-002"}
)

// world is a sidecar's rooms around a Set, with a platform that is played.
type world struct {
	*Set
	t        *testing.T
	stop     func() // ends the Set as the sidecar's end does, and waits
	log      *event.Log
	journal  *memJournal
	platform *fakePlatform
	desired  *memDesired
	dir      string
}

// start starts a sidecar on what another left behind, or on nothing.
func start(t *testing.T, before *world, change ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, journal: &memJournal{}, desired: &memDesired{records: map[device.ID][]byte{}}, platform: newFakePlatform()}
	if before != nil {
		w.journal, w.desired, w.platform, w.dir = before.journal, before.desired, before.platform, before.dir
	} else {
		w.dir = t.TempDir() + "/state"
	}
	store, err := credential.Open(w.dir, credential.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if w.log, err = event.New(w.journal, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(w.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Credentials: store, Desired: w.desired, Events: w.log, Version: "test", Queues: db}
	for _, c := range change {
		c(&o)
	}
	if w.Set, err = NewSet(o); err != nil {
		t.Fatal(err)
	}
	w.env.open = w.platform.open
	ctx, cancel := context.WithCancel(context.Background())
	logCtx, logCancel := context.WithCancel(context.Background())
	var set, log sync.WaitGroup
	set.Go(func() { _ = w.Run(ctx) })
	log.Go(func() { w.log.Run(logCtx) })
	w.stop = sync.OnceFunc(func() {
		cancel()
		set.Wait()
		logCancel()
		log.Wait()
		_ = db.Close()
	})
	t.Cleanup(w.stop)
	return w
}

func (w *world) credentials() *credential.Store { return w.env.credentials }

// store puts a device secret where Connect finds it.
func (w *world) store(id device.ID, secret string) {
	w.t.Helper()
	if err := w.credentials().Put(id, secretOf(secret)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) stored(id device.ID) string {
	c, err := w.credentials().Get(id)
	if err != nil {
		return err.Error()
	}
	return c.Secret.Reveal()
}

func secretOf(s string) credential.Credential {
	return credential.Credential{Kind: credential.DeviceSecret, Secret: device.NewSecret(s), Source: "connect"}
}

// connect asks for dev1 with the default settings.
func (w *world) connect(change ...func(*ConnectRequest)) (event.Status, error) {
	r := ConnectRequest{Device: dev1, Settings: DefaultSettings()}
	for _, c := range change {
		c(&r)
	}
	return w.Connect(w.t.Context(), r)
}

func (w *world) mustConnect(change ...func(*ConnectRequest)) {
	w.t.Helper()
	if status, err := w.connect(change...); err != nil || status.State != event.Online {
		w.t.Fatalf("Connect: %v, %v", status.State, err)
	}
}

// told is every event so far.
func (w *world) told() []event.Body {
	w.t.Helper()
	r := w.log.Open(event.Selection{After: &event.Cursor{Epoch: w.journal.Epoch()}})
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond) // virtual: ends when all is read
	defer cancel()
	var all []event.Body
	for {
		e, err := r.Take(ctx)
		if err != nil {
			return all
		}
		if _, snapshot := e.Event.Body.(event.Snapshot); !snapshot {
			all = append(all, e.Event.Body)
		}
	}
}

// kinds are those of the events so far, without the attempts' beginnings.
func (w *world) kinds() []event.Kind {
	w.t.Helper()
	var all []event.Kind
	for _, b := range w.told() {
		if b.Kind() != event.KindConnecting {
			all = append(all, b.Kind())
		}
	}
	return all
}

// of picks the events of one type.
func of[T event.Body](all []event.Body) []T {
	var some []T
	for _, b := range all {
		if e, ok := b.(T); ok {
			some = append(some, e)
		}
	}
	return some
}

// login is one attempt as the fake platform saw it.
type login struct {
	attempt
	at time.Time
}

// fakePlatform accepts logins, one link a device: the newer one kicks the older, as the real one does.
type fakePlatform struct {
	mu           sync.Mutex
	answer       func(attempt) error                     // nil accepts
	slow         func(ctx context.Context, a attempt)    // before the answer
	reply        func(a attempt) (topic, payload string) // to registrations
	hold         bool                                    // for links to come, see fakeLink
	refuseFilter string                                  // the same
	logins       []login
	links        map[device.ID]*fakeLink
}

func newFakePlatform() *fakePlatform { return &fakePlatform{links: map[device.ID]*fakeLink{}} }

func (p *fakePlatform) open(ctx context.Context, a attempt) (link, error) {
	p.mu.Lock()
	p.logins = append(p.logins, login{a, time.Now()})
	slow, answer, reply := p.slow, p.answer, p.reply
	p.mu.Unlock()
	if slow != nil {
		slow(ctx, a)
	}
	if ctx.Err() != nil {
		return nil, &Failure{Cause: event.CauseConnackTimeout, Err: ctx.Err(), Detail: "too slow"}
	}
	if answer != nil {
		if err := answer(a); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	l := &fakeLink{linkEnd: linkEnd{done: make(chan struct{})}, hold: p.hold, refuse: p.refuseFilter}
	p.mu.Unlock()
	if a.registering {
		if topic, payload := reply(a); topic != "" {
			go a.onMessage(message.Incoming{Topic: topic, Payload: []byte(payload)}, func() {})
		}
		return l, nil
	}
	p.mu.Lock()
	older := p.links[a.id]
	p.links[a.id] = l
	p.mu.Unlock()
	if older != nil {
		older.lose(kick())
	}
	return l, nil
}

func (p *fakePlatform) set(change func(*fakePlatform)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

func (p *fakePlatform) refuse(code byte) {
	p.set(func(p *fakePlatform) { p.answer = func(a attempt) error { return refusal(code, a.registering) } })
}

func (p *fakePlatform) fail(cause event.Cause) {
	p.set(func(p *fakePlatform) {
		p.answer = func(attempt) error { return &Failure{Cause: cause, Detail: "by the test"} }
	})
}

func (p *fakePlatform) accept() { p.set(func(p *fakePlatform) { p.answer = nil }) }

func (p *fakePlatform) seen() []login {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]login(nil), p.logins...)
}

func (p *fakePlatform) link(id device.ID) *fakeLink {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.links[id]
}

func kick() *Failure {
	return &Failure{Cause: event.CauseClosedByServer, Detail: "the server closed the connection", goodbye: true}
}

func cut() *Failure { return &Failure{Cause: event.CauseNetwork, Detail: "cut by the test"} }

// fakeLink is a link that ends when the test says so.
type fakeLink struct {
	linkEnd
	mu         sync.Mutex // guards what follows
	closed     bool
	hold       bool     // leaves messages unacknowledged
	more       bool     // messages wait for others, and are acknowledged when none comes
	refuse     string   // this filter
	said       []string // SUBSCRIBE, UNSUBSCRIBE and PUBLISH, in their order
	underWay   []*fakePending
	mostAtOnce int
}

// fakePending is a message under way.
type fakePending struct {
	done chan struct{}
	err  error
}

func (p *fakePending) Done() <-chan struct{} { return p.done }
func (p *fakePending) Error() error          { return p.err }

func (l *fakeLink) Publish(topic string, _ byte, _ []byte) pending {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, "PUBLISH "+topic)
	p := &fakePending{done: make(chan struct{})}
	if l.underWay = append(l.underWay, p); len(l.underWay) > l.mostAtOnce {
		l.mostAtOnce = len(l.underWay)
	}
	if !l.hold && !l.more {
		l.ack()
	}
	return p
}

func (l *fakeLink) More(more bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more = more; !more && !l.hold {
		l.ack()
	}
}

// ack acknowledges all that is under way. mu is held.
func (l *fakeLink) ack() {
	for _, p := range l.underWay {
		close(p.done)
	}
	l.underWay = nil
}

func (l *fakeLink) ackAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ack()
}

func (l *fakeLink) Subscribe(_ context.Context, filters []string) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, "SUBSCRIBE "+strings.Join(filters, " "))
	codes := make([]byte, len(filters))
	for i, f := range filters {
		if codes[i] = 1; f == l.refuse {
			codes[i] = 0x80
		}
	}
	return codes, nil
}

func (l *fakeLink) Unsubscribe(_ context.Context, filters []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, "UNSUBSCRIBE "+strings.Join(filters, " "))
	return nil
}

func (l *fakeLink) Abort(f *Failure) { l.lose(f) }

func (l *fakeLink) heard() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.said)
}

func (l *fakeLink) lose(f *Failure) { l.end(f) }

func (l *fakeLink) SessionPresent() bool             { return false }
func (l *fakeLink) Warnings() []event.Warning        { return nil }
func (l *fakeLink) Certificates() Certificates       { return Certificates{} }
func (l *fakeLink) Traffic() (received, sent uint64) { return 4, 100 }

func (l *fakeLink) Close(context.Context) {
	l.lose(&Failure{Cause: event.CauseRequested})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
}

func (l *fakeLink) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// memDesired is Desired in memory.
type memDesired struct {
	mu      sync.Mutex
	records map[device.ID][]byte
	broken  error
}

func (d *memDesired) PutDesired(id device.ID, record []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	d.records[id] = record
	return nil
}

func (d *memDesired) DeleteDesired(id device.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil {
		return d.broken
	}
	delete(d.records, id)
	return nil
}

func (d *memDesired) Desired() (map[device.ID][]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := map[device.ID][]byte{}
	maps.Copy(all, d.records)
	return all, nil
}

func (d *memDesired) wanted(id device.ID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, found := d.records[id]
	return found
}

// memJournal is an event.Journal in memory that keeps everything.
type memJournal struct {
	mu      sync.Mutex
	records [][]byte
}

func (*memJournal) Epoch() string { return "epoch" }

func (j *memJournal) LastSequence() (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return uint64(len(j.records)), nil
}

func (j *memJournal) AppendEvents(first uint64, records [][]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if first != uint64(len(j.records))+1 {
		return errors.New("a hole")
	}
	j.records = append(j.records, records...)
	return nil
}

func (j *memJournal) ReadEvents(after uint64, limit int) (uint64, [][]byte, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if after >= uint64(len(j.records)) {
		return 0, nil, nil
	}
	return after + 1, j.records[after:min(after+uint64(limit), uint64(len(j.records)))], nil
}

// breakDir makes the credentials' directory unusable; mendDir brings it back.
func breakDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Rename(dir+"/credentials", dir+"/away"); err != nil {
		t.Fatal(err)
	}
}

func mendDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Rename(dir+"/away", dir+"/credentials"); err != nil {
		t.Fatal(err)
	}
}
