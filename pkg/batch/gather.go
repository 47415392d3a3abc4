package batch

// Signal tells a goroutine that something has gathered for it. It stays set until the
// goroutine receives from it, so work that comes meanwhile needs no other.
type Signal chan struct{}

// NewSignal returns a Signal that is not set.
func NewSignal() Signal { return make(Signal, 1) }

// Set sets the signal. It never blocks.
func (s Signal) Set() {
	select {
	case s <- struct{}{}:
	default:
	}
}

// Take takes the first n off the queue, or all if there are fewer. Once the queue is
// empty it lets go of its array.
func Take[T any](queue *[]T, n int) []T {
	n = min(n, len(*queue))
	taken := (*queue)[:n:n]
	if *queue = (*queue)[n:]; len(*queue) == 0 {
		*queue = nil
	}
	return taken
}
