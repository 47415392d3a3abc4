package command

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
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
	// ID is the command that was delivered. "": those that wait for one peer, in the order
	// of creation; not those without a TTL.
	ID string
	// TTL is that of the command that was delivered.
	TTL time.Duration
	// Node is the identity of the node, under which it is reaped.
	Node  string
	Peers []Claimant
	// MaxBytes and Most bound those that wait, MaxBytes their messages, of which there is one at
	// least. 0: MostClaimed alone bounds them.
	MaxBytes, Most int

	// Anyhow has the node take what is due to another one, on which the peer has subscribed
	// later: that has not taken it.
	Anyhow bool

	// HandedOver is filled in: what has to be written, in the order of the commands.
	HandedOver []HandedOver
	// Elsewhere are the peers that could be handed something, and for which that was left to
	// the nodes on which they have subscribed last: their indexes in Peers.
	Elsewhere []int
	// More: the peer can be handed more commands that wait.
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
}

// MostClaimed is how many of the commands that wait one run hands over: Redis is through with
// them in a millisecond.
const MostClaimed = 30

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
	bytes, most := cmp.Or(c.MaxBytes, math.MaxInt32), min(cmp.Or(c.Most, MostClaimed), MostClaimed)
	anyhow := 0
	if c.Anyhow {
		anyhow = 1
	}
	call := s.call(s.scripts.claim, c.place.bucket, c.place.local, c.Channel, c.Node, bytes, most, anyhow)
	call.Keys = append(call.Keys, c.place.bucket.LastJoined(c.Channel))
	for _, p := range c.Peers {
		confirms := 0
		if p.Confirms {
			confirms = 1
		}
		call.Args = append(call.Args, p.Peer, confirms)
	}
	return call
}

// read fills in what the script replied.
func (c *Claim) read(r reply) error {
	c.More = r.number(0) == 1
	for i := 1; i+5 < len(r); i += 6 {
		if r.text(i+1) == "" {
			c.Elsewhere = append(c.Elsewhere, int(r.number(i))-1)
			continue
		}
		h := HandedOver{
			Peer: int(r.number(i)) - 1, ID: place{c.place.bucket, r.text(i + 1)}.id(), Attempt: int(r.number(i + 2)),
			ExpiresIn: time.Duration(r.number(i+3)) * time.Millisecond, Timeout: time.Duration(r.number(i+4)) * time.Millisecond,
		}
		if payload := r.text(i + 5); payload != "" {
			h.Delivery = &envelope.Delivery{Kind: envelope.KindMessages, App: c.App, Channel: c.Channel}
			if err := h.Delivery.Decode([]byte(payload)); err != nil {
				return err
			}
		}
		c.HandedOver = append(c.HandedOver, h)
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
// those that the peer has confirmed or answered. left are those that were not taken back, with
// the first error.
func (s *Store) TakeBack(ctx context.Context, node string, all []Unconfirmed) (left []Unconfirmed, failed error) {
	rest := map[rediskeys.Bucket][]any{} // id and peer of each
	of := map[rediskeys.Bucket][]Unconfirmed{}
	for _, u := range all {
		if p, ok := placeOf(s.opt.Keys, u.App, u.ID); ok {
			rest[p.bucket] = append(rest[p.bucket], p.local, u.Peer)
			of[p.bucket] = append(of[p.bucket], u)
		}
	}
	for len(rest) > 0 {
		var calls []*redisconn.Call
		buckets := slices.Collect(maps.Keys(rest))
		for _, b := range buckets {
			calls = append(calls, s.call(s.scripts.takeBack, b, append([]any{node}, rest[b][:min(len(rest[b]), 2*maxTakenBack)]...)...))
		}
		_ = redisconn.Exec(ctx, s.opt.Redis, calls) // each has its error
		for i, call := range calls {
			r, err := s.replied(buckets[i], call)
			if err != nil {
				failed = cmp.Or(failed, err)
				left = append(left, of[buckets[i]][len(of[buckets[i]])-len(rest[buckets[i]])/2:]...)
				delete(rest, buckets[i])
				continue
			}
			if rest[buckets[i]] = rest[buckets[i]][min(len(rest[buckets[i]]), 2*int(max(1, r.number(1)))):]; len(rest[buckets[i]]) == 0 {
				delete(rest, buckets[i])
			}
		}
	}
	return left, failed
}

// maxTakenBack bounds the hand-overs that one run is told to take back.
const maxTakenBack = 100

// Reap takes back what a dead identity holds in a bucket, some of it: more says that
// there is more.
func (s *Store) Reap(ctx context.Context, bucket rediskeys.Bucket, identity string) (more bool, err error) {
	r, err := s.run(ctx, bucket, s.call(s.scripts.takeBack, bucket, identity))
	return r.number(0) == 1, err
}
