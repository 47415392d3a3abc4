package command

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// readOfPeer is how many of a peer's commands are read in one round trip.
const readOfPeer = 50

// OfPeer is a command that a peer was handed. It is the command without its answers, and the
// answer of that peer.
type OfPeer struct {
	Command *Command
	Answer  PeerAnswer
}

// OfPeerPage is a part of what a peer was handed, newest first.
type OfPeerPage struct {
	Commands []OfPeer
	Next     string // what the next page begins behind; "": this is the last
}

// OfPeer returns commands that the peer was handed, behind after (from the newest for ""), at
// most limit, and fewer if they would be over MaxPageBytes. Those whose channels are not shown
// are left out. A page may have fewer entries than asked for and not be the last.
//
// The peer's commands lie with their channels, in any bucket. Each bucket lists the newest 100.
func (s *Store) OfPeer(ctx context.Context, app, peer, after string, limit int, shown func(channel string) bool) (OfPeerPage, error) {
	all, err := s.handed(ctx, app, peer)
	if err != nil {
		return OfPeerPage{}, err
	}
	begin, size, page := 0, 0, OfPeerPage{}
	for after != "" && begin < len(all) && all[begin].cursor() >= after {
		begin++
	}
	for range pageRuns {
		some := all[begin:min(begin+readOfPeer, len(all))]
		read, err := s.readOfPeer(ctx, peer, some, MaxPageBytes-size)
		if err != nil {
			return OfPeerPage{}, err
		}
		for i, one := range read {
			if one == nil || !shown(one.Command.Channel) {
				continue
			}
			grows := one.Command.size() + one.Answer.size()
			if full := len(page.Commands) == limit || size+grows > MaxPageBytes; full && len(page.Commands) > 0 {
				page.Next = all[max(begin+i-1, 0)].cursor()
				return page, nil
			}
			page.Commands, size = append(page.Commands, *one), size+grows
		}
		if begin += len(read); begin == len(all) {
			return page, nil
		}
	}
	page.Next = all[begin-1].cursor()
	return page, nil
}

// handover is an entry of the list of a peer's commands.
type handover struct {
	at    string // unix milliseconds, always as many digits
	place place
}

// cursor orders hand-overs by time.
func (h handover) cursor() string { return h.at + " " + h.place.id() }

// handed reads the lists of a peer's commands, newest first.
func (s *Store) handed(ctx context.Context, app, peer string) (all []handover, err error) {
	p := s.opt.Redis.Pipeline()
	buckets := slices.Collect(s.opt.Keys.Buckets(app))
	lists := make([]*redis.StringSliceCmd, len(buckets))
	for i, b := range buckets {
		lists[i] = p.LRange(ctx, b.CommandsOf(peer), 0, -1)
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, err
	}
	for i, b := range buckets {
		for _, entry := range lists[i].Val() {
			if at, local, ok := strings.Cut(entry, " "); ok {
				all = append(all, handover{at, place{b, local}})
			}
		}
	}
	slices.SortFunc(all, func(a, b handover) int { return cmp.Compare(b.cursor(), a.cursor()) })
	return all, nil
}

// readOfPeer reads the first of some hand-overs, as many as the bytes allow and at least one. An entry
// is nil if the command is not there any more.
func (s *Store) readOfPeer(ctx context.Context, peer string, some []handover, bytes int) ([]*OfPeer, error) {
	calls := map[rediskeys.Bucket]*redisconn.Call{}
	var inOrder []*redisconn.Call
	for _, h := range some {
		b := h.place.bucket
		if calls[b] == nil {
			calls[b] = s.call(s.scripts.ofPeer, b, peer, bytes)
			inOrder = append(inOrder, calls[b])
		}
		calls[b].Args = append(calls[b].Args, h.place.local)
	}
	if len(inOrder) > 0 {
		if err := redisconn.Exec(ctx, s.opt.Redis, inOrder); err != nil {
			return nil, err
		}
	}
	replies := map[rediskeys.Bucket]reply{}
	for b, call := range calls {
		r, err := s.replied(b, call)
		if err != nil {
			return nil, err
		}
		replies[b] = r
	}
	var read []*OfPeer
	for _, h := range some {
		r := replies[h.place.bucket]
		if len(r) < ofPeerFields {
			break // the bytes have run out
		}
		replies[h.place.bucket] = r[ofPeerFields:]
		one, err := parseOfPeer(h.place, peer, r)
		if err != nil {
			return nil, fmt.Errorf("command %s: %w", h.place.id(), err)
		}
		read = append(read, one)
	}
	return read, nil
}

// ofPeerFields is how many values ofpeer.lua returns for a command.
const ofPeerFields = 5

func parseOfPeer(p place, peer string, r reply) (*OfPeer, error) {
	if r.text(0) == "" {
		return nil, nil
	}
	one := &OfPeer{Command: &Command{ID: p.id()}}
	err := one.Command.parseFixed(r.text(0))
	if err == nil {
		one.Command.Status, one.Command.Counts, err = parseState(r.text(1))
	}
	if err == nil {
		var d envelope.Delivery
		if err = d.Decode([]byte(r.text(2))); err == nil {
			one.Command.Data = d.Data()
		}
	}
	if err == nil {
		one.Answer, err = parseAnswer(peer, r.text(3), r.text(4))
	}
	return one, err
}
