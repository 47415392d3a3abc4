//go:build linux

package load

import (
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// tryAgainLater is the close code with which a server asks for another try (RFC 6455,
	// 1013; protocol §4.5).
	tryAgainLater = 1013
	// A connection that is refused so is opened again after a pause, at random between half of
	// this and all, which doubles with each try.
	firstPause = 250 * time.Millisecond
	maxRetries = 6
)

// retry is a connection that will be opened again.
type retry struct {
	conn *conn
	at   time.Duration
}

// postpone opens a connection again later that the server has refused with this code. It
// says no if that is not what the code asks for, or was tried too often.
func (p *Pool) postpone(c *conn, code uint16) bool {
	if code != tryAgainLater || c.state == ready || c.received > 0 || c.tries == maxRetries || p.opening == nil {
		return false
	}
	p.release(c)
	pause := firstPause << c.tries
	pause = pause/2 + rand.N(pause/2)
	*c = conn{number: c.number, spec: c.spec, state: waiting, tries: c.tries + 1}
	p.retries = append(p.retries, retry{c, Now() + pause})
	p.opening.result.Retries++
	return true
}

// reopen opens connections whose pause is over. It returns when the next one's is, as
// epoll_wait takes it.
func (p *Pool) reopen() (milliseconds int) {
	now, next := Now(), time.Duration(-1)
	due := slices.Clone(p.retries)
	p.retries = p.retries[:0]
	for _, r := range due {
		switch {
		case r.at > now:
			p.retries = append(p.retries, r)
			if next < 0 || r.at < next {
				next = r.at
			}
		default:
			p.begin(r.conn)
		}
	}
	if next < 0 {
		return -1
	}
	return int((next - now + time.Millisecond - 1) / time.Millisecond)
}

// begin connects.
func (p *Pool) begin(c *conn) {
	c.state = connecting
	if err := p.connect(c); err != nil {
		c.fd = -1
		c.state = unused
		p.failed(err)
	}
}
