package conn

import "time"

// pace keeps a device's logins within what the platform takes: so many in any minute, where 0 means any number.
type pace struct{ logins []time.Time }

// wait is how long the next login must wait.
func (p *pace) wait(now time.Time, perMinute int) time.Duration {
	if perMinute <= 0 || len(p.logins) < perMinute {
		return 0
	}
	return max(0, p.logins[len(p.logins)-perMinute].Add(time.Minute).Sub(now))
}

// login notes one.
func (p *pace) login(now time.Time, perMinute int) {
	if perMinute <= 0 {
		return
	}
	p.logins = append(p.logins, now)
	if extra := len(p.logins) - perMinute; extra > 0 {
		p.logins = p.logins[extra:]
	}
}
