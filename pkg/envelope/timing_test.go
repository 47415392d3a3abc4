package envelope

import (
	"testing"
	"time"
)

// One message in 64 tells when it was taken, remembered by its channel or not, and no two have
// the same number.
func TestTiming(t *testing.T) {
	at := time.Date(2026, 11, 27, 8, 0, 0, 123_456_000, time.UTC)
	seen := map[uint64]bool{}
	timed := 0
	for n := uint64(1); n <= 1000*TimedEvery; n++ {
		number := Number(n, func() time.Time { return at })
		if seen[number] {
			t.Fatalf("message %d has the number of an earlier one", n)
		}
		seen[number] = true
		for _, e := range [][]byte{
			Encode(ID{1, number}, &Message{App: "app", Channel: "c", From: "p", Data: []byte("1")}),
			append([]byte("\x07epoch,41,1700000000000,60\n"), EncodeRecord(ID{1, number}, &Message{App: "app", Channel: "c", From: "p", Data: []byte("1")})...),
		} {
			d := Delivery{Kind: KindMessages, App: "app", Channel: "c"}
			if err := d.Decode(e); err != nil {
				t.Fatal(err)
			}
			got, ok := d.TakenAt()
			if ok != (n%TimedEvery == 0) || ok && !got.Equal(at) {
				t.Fatalf("message %d: taken at %v, %v", n, got, ok)
			}
			if ok {
				timed++
			}
		}
	}
	if timed != 2*1000 {
		t.Errorf("%d envelopes tell their time", timed)
	}
}

// Others than messages have numbers with any bits, and tell no time.
func TestOthersTellNoTime(t *testing.T) {
	number := Number(TimedEvery, time.Now)
	command := CommandDelivery(Command{ID: "cmd_1"}, &Message{App: "app", Channel: "c", From: "p", Data: []byte("1")})
	command.ID.Sequence = number
	for name, d := range map[string]*Delivery{
		"a command": command, "an announcement": {ID: ID{1, number}, Kind: KindPresence}, "a state": {ID: ID{1, number}, Only: 7},
	} {
		if at, ok := d.TakenAt(); ok {
			t.Errorf("%s tells %v", name, at)
		}
	}
}

func TestTimingCostsNothing(t *testing.T) {
	n := uint64(0)
	d := &Delivery{}
	if allocs := testing.AllocsPerRun(1000, func() {
		n++
		d.ID.Sequence = Number(n, time.Now)
		_, _ = d.TakenAt()
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkNumber(b *testing.B) {
	d := &Delivery{}
	for n := uint64(0); b.Loop(); n++ {
		d.ID.Sequence = Number(n, time.Now)
		_, _ = d.TakenAt()
	}
}
