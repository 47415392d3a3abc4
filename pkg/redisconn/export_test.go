package redisconn

// Waiting is how many calls wait for the round trip under way to end.
func (c *Coalescer[T]) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// Together is the hook that has pipelines share round trips.
type Together = together

// Waiting is how many pipelines wait for the round trip under way to end.
func (t *together) Waiting() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting)
}

// HideAddress is what the dial hook does with an error.
var HideAddress = hideAddress
