package books

import "time"

// A Memory is a message that a channel remembers.
type Memory struct {
	Offset uint64
	Writer string
	N      int
}

type memories struct {
	at      time.Time
	channel string
	epoch   string
	all     []Memory
}

// Remembers records what a channel remembers, from its oldest message to its newest.
func (b *Books) Remembers(at time.Time, channel, epoch string, all []Memory) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.memories = append(b.memories, memories{at, channel, epoch, all})
}

// judgeMemories: all that was acked in a channel's epoch, and is not older than what it
// remembers, is there, at its place.
func (j *judge) judgeMemories() {
	for _, m := range j.b.memories {
		there := map[uint64]Memory{}
		oldest := uint64(1)
		for i, one := range m.all {
			there[one.Offset] = one
			if i == 0 {
				oldest = one.Offset
			}
			s := j.b.streams[streamKey{one.Writer, m.channel}]
			switch {
			case s == nil || one.N < 0 || one.N >= len(s.sent):
				j.find(Invented, m.at, false, "%s remembers message %d of %s, which was not sent", m.channel, one.N, one.Writer)
			case s.sent[one.N].outcome == Refused:
				j.find(Undead, m.at, false, "%s remembers message %d of %s, which was refused", m.channel, one.N, one.Writer)
			}
		}
		for key, s := range j.b.streams {
			if key.channel != m.channel {
				continue
			}
			for n, sent := range s.sent {
				if sent.outcome != Acked || sent.position.Epoch != m.epoch || sent.position.Offset < oldest || sent.at.After(m.at) {
					continue
				}
				if one, is := there[sent.position.Offset]; !is || one.Writer != key.writer || one.N != n {
					j.find(Lost, sent.at, false, "%s is not remembered at %v: %+v is", name(key, n), sent.position, one)
				}
			}
		}
	}
}
