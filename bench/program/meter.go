package program

import (
	"cmp"
	"slices"
	"sync"
	"syscall"
	"time"
)

// meter measures from the end of the warm-up on, until its time is over.
type meter struct {
	from, until time.Time
	cpuFrom     time.Duration
	began       *time.Timer // takes note of the CPU time at from
	cpuReady    chan struct{}

	mu    sync.Mutex
	all   int
	took  []time.Duration // of answers that came between from and until
	last  time.Time       // when an answer came
	gap   time.Duration   // the longest time without any
	first error
}

// newMeter begins with the warm-up.
func newMeter(p Params) *meter {
	m := &meter{from: time.Now().Add(seconds(p.WarmUp)), cpuReady: make(chan struct{})}
	m.until = m.from.Add(seconds(p.Seconds))
	m.began = time.AfterFunc(seconds(p.WarmUp), func() {
		m.cpuFrom = cpuTime()
		close(m.cpuReady)
	})
	return m
}

// over reports whether nothing more needs to be begun.
func (m *meter) over() bool { return !time.Now().Before(m.until) }

// add counts an answer to what began at start.
func (m *meter) add(start time.Time) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all++
	if !now.Before(m.from) && now.Before(m.until) {
		m.took = append(m.took, now.Sub(start))
		if !m.last.IsZero() {
			m.gap = max(m.gap, now.Sub(m.last))
		}
	}
	m.last = now
}

// fail keeps the first error.
func (m *meter) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.first = cmpError(m.first, err)
}

func cmpError(first, err error) error {
	if first != nil {
		return first
	}
	return err
}

// figures are the usual ones. It is called when the work is over.
func (m *meter) figures() (Figures, error) {
	<-m.cpuReady
	used := cpuTime() - m.cpuFrom
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.first != nil {
		return nil, m.first
	}
	f := usual(m.all, m.took, m.until.Sub(m.from), used)
	f["longest_gap_us"] = micros(max(m.gap, m.until.Sub(m.last))) // also when answers stopped for good
	return f, nil
}

func usual(all int, took []time.Duration, over, cpu time.Duration) Figures {
	f := Figures{"messages": float64(all), "messages_per_second": float64(len(took)) / over.Seconds()}
	if len(took) > 0 {
		slices.SortFunc(took, cmp.Compare[time.Duration])
		f["p50_us"], f["p99_us"] = percentile(took, 0.50), percentile(took, 0.99)
		f["max_us"] = percentile(took, 1)
		f["cpu_us_per_message"] = micros(cpu) / float64(len(took))
	}
	return f
}

// percentile of sorted times, in microseconds.
func percentile(sorted []time.Duration, q float64) float64 {
	return micros(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))])
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// cpuTime is what this process has used, user and system time.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0 // it cannot fail with these arguments
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
