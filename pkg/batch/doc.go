// Package batch lets work that comes at the same time share one trip to Redis. The
// trip costs both sides more than a small piece of work does.
//
// The rule is always the same: the first goes at once, and those that come while it is
// under way ride the next trip together. Nothing waits for company. So batches are
// small while there is little to do, and grow with the load.
//
// A [Batcher] keeps the rule for callers that need no more. Some goroutines also
// renew a lease, hold an identity or keep a link, in order with what they send
// (quota.Connections, the members and the subscriptions of a node). They keep the rule
// by a [Signal] and [Take], under a lock of their own, or by [Events]. pkg/publish has a
// queue of its own: sockets do not wait for their messages, and a form that serves both
// kinds of callers cost each message 0.1 µs more.
package batch
