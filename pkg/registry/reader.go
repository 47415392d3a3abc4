package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

const (
	// MaxPage bounds the peers of a page, and is the default.
	MaxPage = 500
	// pageBytes bounds a page as JSON: 512 KiB, less what is around it.
	pageBytes = 500 << 10
	// perPeer is more than JSON takes for a peer beside its id and its metadata.
	perPeer = 250
	// steps bounds how often a page looks at the next peers of the buckets. One that
	// finds few ends early.
	steps = 3
	// filtered is how many times as many peers a step looks at if not all are wanted.
	filtered = 2
)

// Peer is what the registry knows of a peer. Times are unix milliseconds.
type Peer struct {
	PeerID      string          `json:"peerId"`
	Online      bool            `json:"online"`
	Epoch       uint64          `json:"epoch"`
	ConnectedAt int64           `json:"connectedAt"`
	LastSeenAt  int64           `json:"lastSeenAt"`
	Metadata    json.RawMessage `json:"metadata,omitempty"`
	// LastDisconnect is how a connection of it ended last; nil: none has.
	LastDisconnect *Disconnect `json:"lastDisconnect,omitempty"`

	holders []string
}

// Nodes are the names of the nodes that the peer has connections on (pkg/orders).
func (p *Peer) Nodes() []string {
	var nodes []string
	for _, h := range p.holders {
		if i := strings.LastIndexByte(h, ':'); !slices.Contains(nodes, h[i+1:]) {
			nodes = append(nodes, h[i+1:])
		}
	}
	return nodes
}

// Disconnect is the end of a connection.
type Disconnect struct {
	At     int64  `json:"at"`
	Code   int    `json:"code"`
	Reason Reason `json:"reason"`
}

// Online says which peers are wanted, by whether they are online.
type Online uint8

// All, or some.
const (
	Whether Online = iota // they are online or not
	OnlineOnly
	OfflineOnly
)

// Query says which peers to list.
type Query struct {
	Prefix string
	Online Online
	// SeenBefore is unix milliseconds; 0: whenever they were seen.
	SeenBefore int64
	After      string // the peer that the page before ended with
	Limit      int
}

// Page is some peers, sorted by id.
type Page struct {
	Peers []Peer
	// Next is what the next page comes after; "": this is the last.
	Next string
}

// Reader reads the registry.
type Reader struct {
	rdb  redis.UniversalClient
	keys rediskeys.Namespace
}

// NewReader returns a Reader.
func NewReader(rdb redis.UniversalClient, keys rediskeys.Namespace) *Reader {
	return &Reader{rdb, keys}
}

// Get returns what is known of a peer; it is not ok if that is nothing.
func (r *Reader) Get(ctx context.Context, app *apps.App, peer string) (found Peer, ok bool, err error) {
	bucket := r.keys.Bucket(app.ID, peer)
	p := r.rdb.Pipeline()
	clock, value, leases := redisconn.Clock(ctx, r.rdb, p, bucket.Peers()), p.HGet(ctx, bucket.Peers(), peer), p.ZRangeWithScores(ctx, r.keys.Leases(), 0, -1)
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return Peer{}, false, err
	}
	if value.Err() != nil {
		return Peer{}, false, nil // redis.Nil
	}
	if found, err = parseRecord(peer, value.Val()); err != nil {
		return Peer{}, false, err
	}
	if !found.Online && clock.Val().Sub(time.UnixMilli(found.LastSeenAt)) >= app.Peers.Remember {
		return Peer{}, false, nil
	}
	found.see(leases.Val())
	return found, true, nil
}

// List returns a page of an app's peers. Pages that follow each other by Next have
// each peer that was there all the time exactly once. One may have fewer peers than
// its limit, or none, and not be the last.
func (r *Reader) List(ctx context.Context, app *apps.App, q Query) (Page, error) {
	p := r.rdb.Pipeline()
	clock, leases := redisconn.Clock(ctx, r.rdb, p, r.keys.Leases()), p.ZRangeWithScores(ctx, r.keys.Leases(), 0, -1)
	if _, err := p.Exec(ctx); err != nil {
		return Page{}, err
	}
	l := newListing(r.keys, app, q, clock.Val())
	for range steps {
		open := l.behind()
		if len(open) == 0 {
			break
		}
		if err := l.step(ctx, r.rdb, open); err != nil {
			return Page{}, err
		}
	}
	return l.page(leases.Val())
}

// parseRecord reads what record.lua writes.
func parseRecord(peer, value string) (p Peer, err error) {
	head, metadata, ok := strings.Cut(value, "\n")
	fields := strings.Split(head, " ")
	if !ok || len(fields) != 7 {
		return Peer{}, fmt.Errorf("the record of peer %q has %d fields, want 7", peer, len(fields))
	}
	number := func(i int) int64 {
		n, bad := strconv.ParseInt(fields[i], 10, 64)
		err = errors.Join(err, bad)
		return n
	}
	p = Peer{PeerID: peer, Epoch: uint64(number(0)), Online: fields[1] == "1", ConnectedAt: number(2), LastSeenAt: number(3)}
	if p.LastSeenAt > 0 {
		p.LastDisconnect = &Disconnect{At: p.LastSeenAt, Code: int(number(4)), Reason: Reason(fields[5])}
	}
	if p.Online {
		p.LastSeenAt = max(p.LastSeenAt, p.ConnectedAt)
	}
	if fields[6] != "" {
		p.holders = strings.Split(fields[6], ",")
	}
	if metadata != "" {
		p.Metadata = json.RawMessage(metadata)
	}
	return p, err
}

// see dates a peer by the leases of the nodes that it is on.
func (p *Peer) see(leases []redis.Z) {
	for _, h := range p.holders {
		identity, _, _ := strings.Cut(h, ":")
		i := slices.IndexFunc(leases, func(z redis.Z) bool { return z.Member == identity })
		if i >= 0 {
			p.LastSeenAt = max(p.LastSeenAt, int64(leases[i].Score)-Lease.Milliseconds())
		}
	}
}

// size is at least what JSON takes for the peer.
func (p *Peer) size() int { return perPeer + 2*len(p.PeerID) + len(p.Metadata) }
