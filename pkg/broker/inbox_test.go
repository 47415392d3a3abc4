package broker

import (
	"errors"
	"testing"
)

// A node that does not keep up must not fill its memory with what it has yet to
// deliver.
func TestInboxIsBounded(t *testing.T) {
	in := inbox{wake: make(chan struct{}, 1)}
	frame := make([]byte, 1<<20) // shared, so that the test itself stays small
	var sequence uint64
	for ; sequence < maxInboxBytes>>20; sequence++ {
		if err := in.add(Delivery{sequence: sequence + 1, Frame: frame}); err != nil {
			t.Fatalf("message %d: %v", sequence+1, err)
		}
	}
	if err := in.add(Delivery{sequence: sequence + 1, Frame: frame}); !errors.Is(err, errInboxFull) {
		t.Errorf("message past the bound: %v", err)
	}
	if n := len(in.content); n != maxInboxBytes>>20 {
		t.Errorf("%d messages in the inbox", n)
	}
}
