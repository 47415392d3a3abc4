package command

import (
	"context"
	"time"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Claim asks for commands for peers of one node that are subscribed to a channel by
// name. Store.Claim fills in what they are handed.
type Claim struct {
	App     string
	Channel string
	// ID is the command that was delivered. "": those that wait, in the order of
	// creation; not those without a TTL.
	ID string
	// TTL is that of the command that was delivered.
	TTL time.Duration
	// Node is the identity of the node, under which it is reaped.
	Node     string
	Peers    []Claimant
	MaxBytes int // of the messages of waiting commands, at least one; 0: no bound

	// HandedOver is filled in: what has to be written, in the order of the commands.
	HandedOver []HandedOver
	// More: some peer can be handed more commands that wait.
	More bool
	// Err: nothing is known to be handed over. If Redis did hand it over, that times out,
	// or is taken back when the node's lease ends.
	Err error

	place place
}

// Claimant is a peer that can be handed commands.
type Claimant struct {
	Peer     string
	Confirms bool // its subscription has "commands":"confirm"
	Most     int  // commands at most; 0: all
}

// HandedOver is one command for one peer.
type HandedOver struct {
	Peer    int // index in Claim.Peers
	ID      string
	Attempt int
	// ExpiresIn is how long the TTL goes on, from the moment that Claim was called at
	// the latest; under 0: it has none. Do not write the frame after that.
	ExpiresIn time.Duration
	Timeout   time.Duration
	// Delivery is the message of a command that waited; nil if it was claimed by ID.
	Delivery *envelope.Delivery
}

// Claim claims for several channels, in one round trip. Each has its own Err; the error is the
// first.
func (s *Store) Claim(ctx context.Context, claims []*Claim) error {
	calls := make([]*redisconn.Call, 0, 2*len(claims))
	var of []*Claim
	var touched []rediskeys.Bucket
	for _, c := range claims {
		var ok bool
		c.place = place{bucket: s.opt.Keys.Bucket(c.App, c.Channel)}
		if c.ID != "" {
			if c.place, ok = placeOf(s.opt.Keys, c.App, c.ID); !ok || c.place.bucket != s.opt.Keys.Bucket(c.App, c.Channel) {
				c.Err = ErrNotFound
				continue
			}
		}
		of = append(of, c)
		if c.TTL > 0 || c.ID == "" {
			touched = append(touched, c.place.bucket)
		}
		calls = append(calls, s.claimCall(c))
	}
	if len(of) == 0 {
		return nil
	}
	// Without a TTL, nodes look there when the hand-over is over, and find the rest.
	err := s.exec(ctx, touched, MinTimeout, calls)
	for i, c := range of {
		var r reply
		if r, c.Err = s.replied(c.place.bucket, calls[i]); c.Err == nil {
			c.Err = c.read(r)
		}
	}
	return err
}

func (s *Store) claimCall(c *Claim) *redisconn.Call {
	most := c.MaxBytes
	if most == 0 {
		most = 1 << 30
	}
	call := s.call(s.scripts.claim, c.place.bucket, c.place.local, c.Channel, c.Node, most)
	for _, p := range c.Peers {
		confirms, n := 0, p.Most
		if p.Confirms {
			confirms = 1
		}
		if n == 0 {
			n = MaxQueued
		}
		call.Args = append(call.Args, p.Peer, confirms, n)
	}
	return call
}

// read fills in what the script replied.
func (c *Claim) read(r reply) error {
	c.More = r.number(0) == 1
	deliveries := map[string]*envelope.Delivery{}
	for i := 1; i+5 < len(r); i += 6 {
		id := place{c.place.bucket, r.text(i + 1)}.id()
		if payload := r.text(i + 5); payload != "" {
			d := &envelope.Delivery{Kind: envelope.KindMessages, App: c.App, Channel: c.Channel}
			if err := d.Decode([]byte(payload)); err != nil {
				return err
			}
			deliveries[id] = d
		}
		expires := time.Duration(r.number(i+3)) * time.Millisecond
		c.HandedOver = append(c.HandedOver, HandedOver{
			Peer: int(r.number(i)) - 1, ID: id, Attempt: int(r.number(i + 2)), ExpiresIn: expires,
			Timeout: time.Duration(r.number(i+4)) * time.Millisecond, Delivery: deliveries[id],
		})
	}
	return nil
}

// Unconfirmed is a hand-over to a subscriber that confirms, and has not.
type Unconfirmed struct {
	App  string
	ID   string
	Peer string
}

// TakeBack takes back hand-overs of the node to a connection that has ended. It leaves
// those that the peer has confirmed or answered.
func (s *Store) TakeBack(ctx context.Context, node string, all []Unconfirmed) error {
	var calls []*redisconn.Call
	var buckets []rediskeys.Bucket
	of := map[rediskeys.Bucket]*redisconn.Call{}
	for _, u := range all {
		p, ok := placeOf(s.opt.Keys, u.App, u.ID)
		if !ok {
			continue
		}
		call := of[p.bucket]
		if call == nil {
			call = s.call(s.scripts.takeBack, p.bucket, node)
			of[p.bucket] = call
			calls, buckets = append(calls, call), append(buckets, p.bucket)
		}
		call.Args = append(call.Args, p.local, u.Peer)
	}
	if len(calls) == 0 {
		return nil
	}
	err := redisconn.Exec(ctx, s.opt.Redis, calls)
	for i, call := range calls {
		_, _ = s.replied(buckets[i], call)
	}
	return err
}

// Reap takes back what a dead identity holds in a bucket, some of it: more says that
// there is more.
func (s *Store) Reap(ctx context.Context, bucket rediskeys.Bucket, identity string) (more bool, err error) {
	r, err := s.run(ctx, bucket, s.call(s.scripts.takeBack, bucket, identity))
	return r.number(0) == 1, err
}
