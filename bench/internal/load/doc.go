// Package load is the load generator: thousands of WebSocket connections in one
// epoll loop, which reads what comes into one shared buffer and counts messages
// in it. It shares the machine with what it measures, so it must be cheap: one
// read(2) for all that has come, no goroutine and no buffer a connection.
package load

import (
	"errors"
	"time"

	"fleetwire/bench/internal/wire"
)

// Spec is a connection to be opened.
type Spec struct {
	Address string // host:port
	Opening wire.Opening
	Refusal string // see wire.Dialect
	// Sample: the latency of every message on this connection is taken.
	Sample bool
	// Answer is what a device answers to the payload of a frame, nil: nothing. The field is
	// nil for those that answer nothing. It must not keep the payload.
	Answer func(payload []byte) []byte
	// ReceiveBuffer is how many bytes the kernel may hold for the connection that
	// are not read yet; 0: as many as it sees fit, which may be 32 MiB.
	ReceiveBuffer int
}

// Opened is what became of a set of connections.
type Opened struct {
	Ready    []int // their numbers in the pool
	Failed   int
	Problems map[string]int // why, and how many
	Retries  int            // how often a server asked for another try (1013), and got it
	Took     time.Duration
}

// ErrStalled means that messages which must come did not.
var ErrStalled = errors.New("messages stopped coming")

var began = time.Now()

// Now is the time that messages are stamped with.
func Now() time.Duration { return time.Since(began) }
