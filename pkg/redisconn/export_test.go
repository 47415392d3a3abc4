package redisconn

// Waiting is how many calls wait for the round trip under way to end.
func (c *Coalescer[T]) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}
