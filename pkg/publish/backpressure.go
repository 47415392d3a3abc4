package publish

import "time"

const (
	// waitTarget is how long what connections send may wait for Redis, by the pace at
	// which Redis has taken messages. Past it, reading from those pauses that send more.
	waitTarget = 40 * time.Millisecond
	// A message weighs its bytes and so much more, as Redis takes time for each.
	messageWeight = 1 << 10
	// leastLimit lets some round trips wait in any case: how fast Redis is shows only
	// under load.
	leastLimit = 4 * maxBatchMessages * messageWeight
	// One connection may have so many messages waiting, if few others do, or if many do.
	mostOfOne  = 128
	leastOfOne = 4
	// A connection that resumes sends what has gathered meanwhile: some so much.
	resumedWeight = 4 * messageWeight
)

// backpressure pauses reading from connections whose messages make the others wait.
type backpressure struct {
	perSecond float64  // the weight that Redis takes
	paused    []Sender // in the order in which they were
}

func weight(messages, bytes int) int { return bytes + messages*messageWeight }

// limit is the weight that may wait.
func (b *backpressure) limit() int {
	return min(max(leastLimit, int(b.perSecond*waitTarget.Seconds())), maxWaitingBytes/4)
}

// learn takes how long a round trip took. A full one shows how much Redis takes; one
// that is not shows that it takes so much at least.
func (b *backpressure) learn(messages, bytes int, took time.Duration) {
	pace := float64(weight(messages, bytes)) / max(took, time.Microsecond).Seconds()
	full := messages >= maxBatchMessages || bytes >= maxBatchBytes
	if full && b.perSecond > 0 {
		pace = (3*b.perSecond + pace) / 4
	} else {
		pace = max(pace, b.perSecond)
	}
	b.perSecond = pace
}

// sent pauses a sender that has more than its share of what may wait, or several
// messages while too much waits; one that has a single message goes on until twice as
// much waits.
func (b *backpressure) sent(q *queue, l *line, sender Sender) {
	waiting, limit := weight(q.messages, q.bytes), b.limit()
	share := limit / messageWeight / len(q.lines)
	if l.length >= min(max(share, leastOfOne), mostOfOne) || waiting > limit && l.length > 1 || waiting > 2*limit {
		sender.Pause()
		b.paused = append(b.paused, sender)
	}
}

// resuming takes out the senders that may go on now: once half of what may wait has gone,
// so many as will fill it again. When nothing waits all may.
func (b *backpressure) resuming(q *queue) []Sender {
	limit, waiting := b.limit(), weight(q.messages, q.bytes)
	if len(b.paused) == 0 || waiting > limit/2 {
		return nil
	}
	n := min(len(b.paused), max(1, (limit-waiting)/resumedWeight))
	if q.messages == 0 {
		n = len(b.paused)
	}
	resuming := b.paused[:n:n]
	if b.paused = b.paused[n:]; len(b.paused) == 0 {
		b.paused = nil
	}
	return resuming
}
