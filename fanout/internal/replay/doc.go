// Package replay reads for connections what their channels remember (protocol §9). Package
// history (in pkg) keeps it in Redis; package session decides what a subscription needs.
//
// One goroutine (Run) makes the trips to Redis. Reads that come while a trip is under way
// share the next one, and those that ask for the same share the answer and its frames: a
// fleet that comes back to one channel costs Redis one read. A connection has one page at
// a time, whatever it has subscribed to, so a slow socket holds no more than that.
package replay
