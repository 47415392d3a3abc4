package envelope

import "time"

// One of TimedEvery messages of a process tells when the process took it, so that nodes can
// measure how long messages take. The number of such a message within its process has its
// highest bit set, and in place of a count
//
//	bits 62–11   when that was, µs since 1970, by the process's clock
//	bits 10–0    the last bits of a count, so that two of one µs differ
//
// Messages take no more room for that, and processes that do not know of it see a number. A count
// never gets so high.
const TimedEvery = 64

const (
	timedBit  = 1 << 63
	countBits = 11
)

// Number is the number within its process of its nth message, taken now.
func Number(n uint64, now func() time.Time) uint64 {
	if n%TimedEvery != 0 {
		return n
	}
	return timedBit | uint64(now().UnixMicro())<<countBits&^timedBit | n/TimedEvery&(1<<countBits-1)
}

// TakenAt is when the publishing process took the message, by its clock. Most messages do not
// tell.
func (d *Delivery) TakenAt() (at time.Time, timed bool) {
	if d.Kind == KindPresence || d.Command != nil || d.Only != 0 {
		return time.Time{}, false
	}
	return d.ID.TakenAt()
}

// TakenAt is when the process took the message that has the id. Most do not tell.
func (id ID) TakenAt() (at time.Time, timed bool) {
	if id.Sequence&timedBit == 0 {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(id.Sequence &^ timedBit >> countBits)), true
}
