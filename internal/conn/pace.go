package conn

import "time"

// pace keeps a device's logins within what the platform takes: so many in any minute.
type pace struct {
	perMinute int // 0 means any number
	logins    []time.Time
}

// wait is how long the next login must wait.
func (p *pace) wait(now time.Time) time.Duration {
	if p.perMinute <= 0 || len(p.logins) < p.perMinute {
		return 0
	}
	return max(0, p.logins[len(p.logins)-p.perMinute].Add(time.Minute).Sub(now))
}

// login notes one.
func (p *pace) login(now time.Time) {
	if p.perMinute <= 0 {
		return
	}
	p.logins = append(p.logins, now)
	if extra := len(p.logins) - p.perMinute; extra > 0 {
		p.logins = p.logins[extra:]
	}
}
