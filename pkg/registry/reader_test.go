package registry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
)

// pages lists everything, page by page.
func pages(t *testing.T, rdb redis.UniversalClient, app *apps.App, q Query) (ids []string) {
	t.Helper()
	r := NewReader(rdb, keys)
	for range 2000 {
		page, err := r.List(t.Context(), app, q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Peers) > q.Limit {
			t.Fatalf("a page of %d, want at most %d", len(page.Peers), q.Limit)
		}
		for _, p := range page.Peers {
			ids = append(ids, p.PeerID)
		}
		if page.Next == "" {
			return ids
		}
		if page.Next <= q.After {
			t.Fatalf("after %q comes %q", q.After, page.Next)
		}
		q.After = page.Next
	}
	t.Fatal("the pages do not end")
	return nil
}

// Pages have every peer once, in order, by every limit and filter.
func TestList(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, `"rememberPeersSec":3600,`))
		var want, online, old, fresh []string
		p := rdb.Pipeline()
		now := time.Now().UnixMilli()
		for i := range 700 {
			id := fmt.Sprintf("%c/%d*%x", "abc "[i%4], i%7, rand.Uint32())
			on, at := "0", now-int64(i)*1000
			want = append(want, id)
			switch {
			case i%10 == 0:
				on = "1"
				online = append(online, id)
				p.ZAdd(t.Context(), keys.Bucket("app", id).PeersOnline(), redis.Z{Member: id})
			case i >= 600:
				old = append(old, id)
			default:
				fresh = append(fresh, id)
			}
			b := keys.Bucket("app", id)
			p.HSet(t.Context(), b.Peers(), id, fmt.Sprintf("%d %s %d %d 1006 lost \n", i+1, on, at-5, at))
			p.ZAdd(t.Context(), b.PeerIndex(), redis.Z{Member: id})
		}
		b := keys.Bucket("app", "expired")
		p.HSet(t.Context(), b.Peers(), "expired", fmt.Sprintf("1 0 1 %d 1006 lost \n", now-3_600_001))
		p.ZAdd(t.Context(), b.PeerIndex(), redis.Z{Member: "expired"})
		b = keys.Bucket("other", "foreign")
		p.HSet(t.Context(), b.Peers(), "foreign", fmt.Sprintf("1 1 1 %d 1006 lost \n", now))
		p.ZAdd(t.Context(), b.PeerIndex(), redis.Z{Member: "foreign"})
		if _, err := p.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		offline := slices.Concat(old, fresh)
		for name, tt := range map[string]struct {
			q    Query
			want []string
		}{
			"all":             {Query{}, want},
			"online":          {Query{Online: OnlineOnly}, online},
			"offline":         {Query{Online: OfflineOnly}, offline},
			"unseen":          {Query{SeenBefore: now - 599_500}, old},
			"seen before now": {Query{SeenBefore: now + 3_600_000}, want},
			"a prefix":        {Query{Prefix: "b/3*"}, with("b/3*", want)},
			"a prefix online": {Query{Prefix: "a", Online: OnlineOnly}, with("a", online)},
			"no such prefix":  {Query{Prefix: "b/3*zz"}, nil},
		} {
			slices.Sort(tt.want)
			for _, limit := range []int{1, 7, 100, 500} {
				if limit < 100 && len(tt.want) > 100 {
					continue // it takes long
				}
				tt.q.Limit = limit
				if got := pages(t, rdb, n.app, tt.q); !slices.Equal(got, tt.want) {
					t.Errorf("%s by %d: %d, want %d\n%q", name, limit, len(got), len(tt.want), got)
				}
			}
		}
	})
}

func with(prefix string, ids []string) (those []string) {
	for _, id := range ids {
		if strings.HasPrefix(id, prefix) {
			those = append(those, id)
		}
	}
	return those
}

// A page is at most 512 KiB.
func TestLargePages(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	n := start(t, rdb, "aa", directory(t, ""))
	for _, id := range namesOf(300) {
		n.connect(id, `{"a":"`+strings.Repeat("x", 4000)+`"}`)
	}
	n.settled()
	page, err := NewReader(rdb, keys).List(t.Context(), n.app, Query{Limit: 500})
	if err != nil || len(page.Peers) < 100 || len(page.Peers) > 125 {
		t.Errorf("%d peers, %v", len(page.Peers), err)
	}
	want := namesOf(300)
	slices.Sort(want)
	if got := pages(t, rdb, n.app, Query{Limit: 500}); !slices.Equal(got, want) {
		t.Errorf("%d in all", len(got))
	}
}

// A peer that is online was seen when its node was heard of.
func TestLastSeen(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, ""))
		n.connect("p", "")
		n.settled()
		heard := time.Now().Add(time.Minute).UnixMilli()
		rdb.ZAdd(t.Context(), keys.Leases(), redis.Z{Member: "aa", Score: float64(heard + Lease.Milliseconds())})
		if p, _ := see(t, rdb, n.app, "p"); p.LastSeenAt != heard {
			t.Errorf("seen at %d, want %d", p.LastSeenAt, heard)
		}
		page, err := NewReader(rdb, keys).List(t.Context(), n.app, Query{Limit: 1})
		if err != nil || page.Peers[0].LastSeenAt != heard {
			t.Errorf("listed: %+v, %v", page, err)
		}
	})
}

func TestForeignRecord(t *testing.T) {
	for _, value := range []string{"", "x", "1 2 3\n", "a 1 2 3 4 r h\n", "1 1 2 3 x r h\n"} {
		if p, err := parseRecord("p", value); err == nil {
			t.Errorf("%q is read as %+v", value, p)
		}
	}
}
