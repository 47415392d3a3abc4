package registry

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/rediskeys"
)

// part is a bucket as far as it is listed.
type part struct {
	bucket rediskeys.Bucket
	after  string // the last id that was looked at
	whole  bool   // there is no more
}

// listing merges an app's buckets.
type listing struct {
	Query
	now, forgotten int64 // Redis's clock (ms), and who was seen last by when is forgotten
	parts          []*part
	found          []Peer // not sorted until page
}

func newListing(keys rediskeys.Namespace, app *apps.App, q Query, now time.Time) *listing {
	l := &listing{Query: q, now: now.UnixMilli(), forgotten: now.Add(-app.Peers.Remember).UnixMilli()}
	for b := range keys.Buckets(app.ID) {
		l.parts = append(l.parts, &part{bucket: b, after: q.After})
	}
	return l
}

// frontier is up to where all buckets are listed; all of them are whole if ok is false.
func (l *listing) frontier() (id string, ok bool) {
	for _, p := range l.parts {
		if !p.whole && (!ok || p.after < id) {
			id, ok = p.after, true
		}
	}
	return id, ok
}

// behind are the buckets to list further: those that may have peers before the last of
// the page.
func (l *listing) behind() (open []*part) {
	last := ""
	if len(l.found) >= l.Limit {
		slices.SortFunc(l.found, byID)
		last = l.found[l.Limit-1].PeerID
	}
	for _, p := range l.parts {
		if !p.whole && (last == "" || p.after < last) {
			open = append(open, p)
		}
	}
	return open
}

func byID(a, b Peer) int { return strings.Compare(a.PeerID, b.PeerID) }

// sure are the peers before which nothing can come any more.
func (l *listing) sure() []Peer {
	id, ok := l.frontier()
	if !ok {
		return l.found
	}
	var sure []Peer
	for _, p := range l.found {
		if p.PeerID <= id {
			sure = append(sure, p)
		}
	}
	return sure
}

// step looks at the next peers of some buckets.
func (l *listing) step(ctx context.Context, rdb redis.UniversalClient, open []*part) error {
	// Names spread evenly: some more than each bucket's share does mostly.
	looks := 6 + 2*l.Limit/len(l.parts)
	if l.Online == OfflineOnly || l.SeenBefore != 0 {
		looks *= filtered
	}
	ids := make([]*redis.StringSliceCmd, len(open))
	p := rdb.Pipeline()
	for i, part := range open {
		ids[i] = p.ZRangeByLex(ctx, l.index(part.bucket), &redis.ZRangeBy{Min: l.from(part), Max: l.to(), Count: int64(looks)})
	}
	if _, err := p.Exec(ctx); err != nil {
		return err
	}
	values := make([]*redis.SliceCmd, len(open))
	p = rdb.Pipeline()
	for i, part := range open {
		part.whole = len(ids[i].Val()) < looks
		if len(ids[i].Val()) > 0 {
			part.after = ids[i].Val()[len(ids[i].Val())-1]
			values[i] = p.HMGet(ctx, part.bucket.Peers(), ids[i].Val()...)
		}
	}
	if _, err := p.Exec(ctx); err != nil {
		return err
	}
	for i := range open {
		if err := l.take(ids[i].Val(), values[i]); err != nil {
			return err
		}
	}
	return nil
}

// index is where the ids of the peers that are wanted lie.
func (l *listing) index(b rediskeys.Bucket) string {
	if l.Online == OnlineOnly {
		return b.PeersOnline()
	}
	return b.PeerIndex()
}

// from and to are where a bucket's next peers begin, and where they end.
func (l *listing) from(p *part) string {
	switch {
	case p.after != "" && p.after >= l.Prefix:
		return "(" + p.after
	case l.Prefix != "":
		return "[" + l.Prefix
	default:
		return "-"
	}
}

func (l *listing) to() string {
	if l.Prefix == "" {
		return "+"
	}
	return "(" + l.Prefix + "\xff" // ids are ASCII
}

// take takes the records of some peers.
func (l *listing) take(ids []string, records *redis.SliceCmd) error {
	if len(ids) == 0 {
		return nil
	}
	for i, record := range records.Val() {
		text, ok := record.(string)
		if !ok {
			continue // it was forgotten in between
		}
		p, err := parseRecord(ids[i], text)
		if err != nil {
			return err
		}
		if l.wants(&p) {
			l.found = append(l.found, p)
		}
	}
	return nil
}

func (l *listing) wants(p *Peer) bool {
	seen := l.now // while it is online
	if !p.Online {
		if seen = p.LastSeenAt; seen <= l.forgotten {
			return false
		}
	}
	return (l.Online == Whether || (l.Online == OnlineOnly) == p.Online) && (l.SeenBefore == 0 || seen < l.SeenBefore)
}

// page is what is sure, within the bounds of a page.
func (l *listing) page(leases []redis.Z) (Page, error) {
	sure := l.sure()
	slices.SortFunc(sure, byID)
	next, more := l.frontier()
	size, n := 0, 0
	for n < len(sure) && n < l.Limit {
		sure[n].see(leases)
		if size += sure[n].size(); size > pageBytes {
			break
		}
		n++
	}
	if n < len(sure) {
		return Page{Peers: sure[:n], Next: sure[n-1].PeerID}, nil
	}
	page := Page{Peers: sure}
	if more {
		page.Next = next
	}
	return page, nil
}
