package sandbox

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/linkkit-sidecar/linkkit-sidecar/internal/device"
	"github.com/linkkit-sidecar/linkkit-sidecar/internal/platform"
)

// maxTokens is how many physical devices may share one device name by registration-free registration.
const maxTokens = 5

// product is a kind of device.
type product struct {
	key     string
	secret  device.Secret
	dynamic bool // whether its devices may register
	devices map[string]*thing
}

// thing is one device. (It is not called device because that is the package of the nouns.)
type thing struct {
	id        device.ID
	secret    device.Secret
	tokens    []token // oldest first
	disabled  bool
	activated bool

	link        *link    // nil when offline
	session     *session // nil when offline without a session that lasts
	lastConnect time.Time
	logins      uint64
	recent      []time.Time // when it logged in during the last minute, for the platform's limit
	messages    history[receipt]
	published   uint64          // number of the newest of messages
	rate        rate            // of what it publishes
	overRate    uint64          // messages that it published too fast
	dropped     uint64          // messages of it that were not kept
	calls       map[string]call // those that wait for the device's answer, by their id; nil while there was none
}

// token is what registration-free registration gives out.
type token struct {
	clientID string
	secret   device.Secret
}

// cloud is the platform without its doors: what it knows, and how it judges.
type cloud struct {
	options Options
	log     *slog.Logger

	mu       sync.Mutex
	products map[string]*product
	faults   []*fault
	logins   map[device.ID]*history[loginRecord] // by the name that was claimed; the zero ID: none was
	connects uint64
	links    uint64 // logins that were taken; the number of the newest link
	lastCall int64  // id of the newest RRPC
}

// newCloud makes the products and devices of the fixture.
func newCloud(o Options) (*cloud, error) {
	if o.KeepMessages == 0 {
		o.KeepMessages = DefaultKeepMessages
	}
	if o.KeepMessages < 0 || o.KeepMessages > MaxKeepMessages {
		return nil, fmt.Errorf("the sandbox cannot keep %d messages of each device: give 1 to %d", o.KeepMessages, MaxKeepMessages)
	}
	c := &cloud{
		options: o, log: o.Log, products: map[string]*product{}, logins: map[device.ID]*history[loginRecord]{},
	}
	for _, p := range o.Fixture.Products {
		if _, err := c.createProduct(p.ProductKey, p.ProductSecret, p.DynamicRegistration); err != nil {
			return nil, fmt.Errorf("the fixture cannot be used: %w", err)
		}
		for _, d := range p.Devices {
			id := device.ID{ProductKey: p.ProductKey, DeviceName: d.DeviceName}
			if _, err := c.createDevice(id, d.DeviceSecret, false); err != nil {
				return nil, fmt.Errorf("the fixture cannot be used: %w", err)
			}
			c.products[p.ProductKey].devices[d.DeviceName].disabled = d.Disabled
		}
	}
	return c, nil
}

// What the console's calls may answer.
var (
	errExists   = errors.New("exists already")
	errNotFound = errors.New("does not exist")
	errInvalid  = errors.New("the platform would not take it")
)

// createProduct makes a product; an empty key or secret is made up.
func (c *cloud) createProduct(key string, secret device.Secret, dynamic bool) (*product, error) {
	if key == "" {
		key = "a1" + randomText(alphanumeric, 9)
	}
	if secret.IsZero() {
		secret = device.NewSecret(randomText(alphanumeric, 16))
	}
	if err := (device.ID{ProductKey: key, DeviceName: "x"}).Validate(); err != nil {
		return nil, fmt.Errorf("%w: product_key %.64q must be 1 to 20 letters and digits", errInvalid, key)
	}
	if err := validateSecret("product_secret", secret); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.products[key] != nil {
		return nil, fmt.Errorf("the product %s %w", key, errExists)
	}
	p := &product{key: key, secret: secret, dynamic: dynamic, devices: map[string]*thing{}}
	c.products[key] = p
	return p, nil
}

// createDevice makes a device, which may be without a secret, and answers with its secret.
func (c *cloud) createDevice(id device.ID, secret device.Secret, generate bool) (device.Secret, error) {
	if err := id.Validate(); err != nil {
		return device.Secret{}, fmt.Errorf("%w: %w", errInvalid, err)
	}
	if secret.IsZero() && generate {
		secret = newDeviceSecret()
	}
	if err := validateSecret("device_secret", secret); err != nil {
		return device.Secret{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.products[id.ProductKey]
	switch {
	case p == nil:
		return device.Secret{}, fmt.Errorf("the product %s %w", id.ProductKey, errNotFound)
	case p.devices[id.DeviceName] != nil:
		return device.Secret{}, fmt.Errorf("the device %s %w", id, errExists)
	}
	p.devices[id.DeviceName] = &thing{id: id, secret: secret}
	return secret, nil
}

// validateSecret takes what the vendor's buffers hold. The zero secret passes.
func validateSecret(field string, secret device.Secret) error {
	text := secret.Reveal()
	if len(text) > platform.MaxSecret {
		return fmt.Errorf("%w: %s has %d bytes; the platform's have at most %d", errInvalid, field, len(text), platform.MaxSecret)
	}
	for _, b := range []byte(text) {
		if b <= ' ' || b > '~' {
			return fmt.Errorf("%w: %s must be printable ASCII without blanks", errInvalid, field)
		}
	}
	return nil
}

// find is the device; nil when there is none. c.mu must be held.
func (c *cloud) find(id device.ID) *thing {
	if p := c.products[id.ProductKey]; p != nil {
		return p.devices[id.DeviceName]
	}
	return nil
}

// change does something to a device under the lock. It ends the device's link with reason unless that is "".
func (c *cloud) change(id device.ID, reason string, do func(*thing)) (wasOnline bool, err error) {
	if err := id.Validate(); err != nil {
		return false, fmt.Errorf("%w: %w", errInvalid, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.find(id)
	if t == nil {
		return false, fmt.Errorf("the device %s %w", id, errNotFound)
	}
	do(t)
	if reason == "" || t.link == nil {
		return false, nil
	}
	t.link.end(reason)
	t.hangUp()
	return true, nil
}

// hangUp makes the device an offline one. The cloud's lock must be held.
func (t *thing) hangUp() {
	t.link = nil
	if !t.session.detach() {
		t.session = nil
	}
}

// online makes l the device's link, after judge has taken it: the older one is kicked, the session that was kept is taken over or
// discarded, and the first login activates the device. The device may be gone since; then l is told so and nothing else happens.
func (c *cloud) online(l *link, cleanSession bool) (there, sessionPresent bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.find(l.id)
	if t == nil || t.disabled {
		return false, false
	}
	if t.link != nil {
		t.link.end("kicked by the same device: a newer login took its place")
	}
	c.links++
	l.number = c.links
	t.link, t.activated, t.lastConnect = l, true, time.Now()
	t.logins++
	sessionPresent = !cleanSession && t.session != nil && t.session.lasting()
	if !sessionPresent {
		if t.session != nil {
			t.session.discard()
		}
		t.session = newSession(t.id)
	}
	l.session = t.session
	l.session.attach(l, !cleanSession)
	return true, sessionPresent
}

// offline takes l from its device, unless a newer one has taken its place already.
func (c *cloud) offline(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.find(l.id); t != nil && t.link == l {
		t.hangUp()
	}
}

// receive keeps what a device published, and gives it to the call that it answers. What comes too fast a strict platform drops
// silently, as the real one does; a lenient one only counts it.
func (c *cloud) receive(l *link, m message) {
	r := receipt{message: m, received: time.Now(), link: l.number}
	r.payload = append([]byte(nil), m.payload...)
	excess, warn := c.keep(l.id, &r)
	if warn {
		c.log.Warn("a device publishes more than the platform takes; this is said once a minute",
			"device", l.id, "reason", excess, "dropped", c.options.Strict)
	}
	if r.lateAnswer {
		c.log.Warn("an answer came to no call that waits for it", "device", l.id, "topic", r.topic, "platform_code", codeLateAnswer)
	}
}

// keep does what receive does under the lock. excess is the limit that the message broke, or "".
func (c *cloud) keep(id device.ID, r *receipt) (excess string, warn bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.find(id)
	if t == nil {
		return "", false
	}
	bytes := len(r.topic) + len(r.payload)
	if excess = t.rate.exceeds(r.received, bytes); excess != "" {
		t.overRate++
		warn = t.rate.mayWarn(r.received)
		if c.options.Strict {
			t.dropped++
			return excess, warn
		}
	}
	t.rate.count(r.received, bytes)
	r.lateAnswer = t.takeAnswer(r.topic, r.payload)
	t.published++
	r.number = t.published
	t.messages.add(*r, c.options.KeepMessages)
	return excess, warn
}

// refused counts a message that a device must not publish.
func (c *cloud) refused(id device.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.find(id); t != nil {
		t.dropped++
	}
}

// deliver sends a message to a device, and tells what became of it.
func (c *cloud) deliver(id device.ID, m message) (delivery, error) {
	c.mu.Lock()
	t := c.find(id)
	if t == nil {
		c.mu.Unlock()
		return 0, fmt.Errorf("the device %s %w", id, errNotFound)
	}
	s := t.session
	c.mu.Unlock()
	if s == nil {
		return offline, nil
	}
	return s.deliver(m)
}

// linkOf is the device's link; nil when it is offline.
func (c *cloud) linkOf(id device.ID) (*link, error) {
	if err := id.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", errInvalid, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.find(id)
	if t == nil {
		return nil, fmt.Errorf("the device %s %w", id, errNotFound)
	}
	return t.link, nil
}

const (
	alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	hexadecimal  = "0123456789abcdef"
)

func newDeviceSecret() device.Secret { return device.NewSecret(randomText(hexadecimal, 32)) }

// randomText is n letters that nobody can guess. (That some come up a little more often than others does not matter here.)
func randomText(letters string, n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = letters[int(b[i])%len(letters)]
	}
	return string(b)
}
