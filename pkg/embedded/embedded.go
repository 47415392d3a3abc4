// Package embedded runs a Redis inside the process, for localdev and for tests: a
// miniredis that carries messages as Redis does. All other packages treat it like any
// Redis.
//
// miniredis (2.40) delivers the messages that a connection has SUBSCRIBEd to from one
// goroutine, and those that it has PSUBSCRIBEd to from another, so a connection that
// does both gets messages out of order. It also compares every message with every
// subscription in turn. This package therefore answers the pub/sub commands itself.
package embedded

import (
	"sync/atomic"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// loading answers commands that come before the pub/sub commands are in place.
const loading = "LOADING Redis is loading the dataset in memory"

// Redis is an embedded Redis. It has no passwords, and PUBLISH takes no part in MULTI.
type Redis struct {
	*miniredis.Miniredis
	pubsub  *pubsub
	refusal atomic.Pointer[string]
}

// New returns a Redis that has yet to be started.
func New() *Redis { return &Redis{Miniredis: miniredis.NewMiniRedis(), pubsub: newPubSub()} }

// Start listens on a free port of the loopback interface; after Close, on the same port.
func (r *Redis) Start() error {
	r.Miniredis.SetError(loading)
	if err := r.Miniredis.Start(); err != nil {
		return err
	}
	r.Server().SetPreHook(r.handle)
	return nil
}

// Restart is Start.
func (r *Redis) Restart() error { return r.Start() }

// StartWithoutListener starts a Redis that is reached through Server().ServeConn alone.
func (r *Redis) StartWithoutListener() error {
	first, err := r.Dial()
	if err != nil {
		return err
	}
	r.Server().SetPreHook(r.handle)
	return first.Close()
}

// SetError makes Redis answer every command with the error; "" ends that.
func (r *Redis) SetError(message string) { r.refusal.Store(&message) }

// handle answers a command, or leaves it to miniredis.
func (r *Redis) handle(c *server.Peer, command string, args ...string) (done bool) {
	if message := r.refusal.Load(); message != nil && *message != "" {
		c.WriteError(*message)
		return true
	}
	return r.pubsub.handle(c, command, args)
}
