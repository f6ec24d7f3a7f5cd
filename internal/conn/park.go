package conn

import "sync"

// rest is what somebody without a goroutine waits for: whoever it tells of wake may call it, at any time, from now on and more than once,
// and wake does not wait. forget takes wake back from those who have not called it.
type rest func(wake func()) (forget func())

// parked is who rests. Devices spend their days so, thousands of them, and a goroutine for each would be memory that does nothing.
type parked struct {
	first  sync.Once
	ready  sync.Mutex // held until forget is known: the first may call before all have been told
	forget func()
	then   func()
}

// park has then called, once and by a goroutine of its own, when the rest is over.
func park(r rest, then func()) {
	p := &parked{then: then}
	p.ready.Lock()
	defer p.ready.Unlock()
	p.forget = r(p.wake)
}

func (p *parked) wake() {
	p.first.Do(func() {
		go func() { // ends with then
			p.ready.Lock()
			forget := p.forget
			p.ready.Unlock()
			forget()
			p.then()
		}()
	})
}
