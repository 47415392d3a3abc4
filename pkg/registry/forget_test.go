package registry

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn/redistest"
)

// gone has peers come and go for good.
func (n *node) gone(peers ...string) {
	n.t.Helper()
	for _, peer := range peers {
		n.connect(peer, "")(1006, Lost)
	}
	n.settled()
	n.pass(peers...)
}

// seen sets when a peer was seen last.
func (n *node) seen(peer string, ago time.Duration) {
	n.t.Helper()
	key := keys.Bucket("app", peer).Peers()
	value := n.opt.Redis.HGet(n.t.Context(), key, peer).Val()
	head, metadata, _ := strings.Cut(value, "\n")
	fields := strings.Split(head, " ")
	fields[3] = fmt.Sprint(time.Now().Add(-ago).UnixMilli())
	n.opt.Redis.HSet(n.t.Context(), key, peer, strings.Join(fields, " ")+"\n"+metadata)
}

// all are the ids of the peers that an app has in Redis.
func all(t *testing.T, rdb redis.UniversalClient) (ids []string) {
	t.Helper()
	for b := range keys.Buckets("app") {
		peers, index := rdb.HKeys(t.Context(), b.Peers()).Val(), rdb.ZRange(t.Context(), b.PeerIndex(), 0, -1).Val()
		if slices.Sort(peers); !slices.Equal(peers, index) {
			t.Errorf("records of %q, and an index of %q", peers, index)
		}
		for _, id := range peers {
			_, listed := rdb.ZScore(t.Context(), b.PeersOnline(), id).Result()
			if online := strings.Split(rdb.HGet(t.Context(), b.Peers(), id).Val(), " ")[1] == "1"; online != (listed == nil) {
				t.Errorf("%s is online %v, and listed as such: %v", id, online, listed)
			}
		}
		ids = append(ids, peers...)
	}
	slices.Sort(ids)
	return ids
}

// Peers are forgotten when they were not seen for long, and not sooner. Until they are
// cleared away, nobody sees them either.
func TestForgotten(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, `"rememberPeersSec":3600,`))
		n.gone(append(namesOf(200), "anon_x")...)
		n.connect("online", "")
		n.connect("anon_y", "")
		n.settled()
		for i := range 100 {
			n.seen(fmt.Sprint("p", i), time.Hour+time.Second)
		}
		n.seen("online", 2*time.Hour)
		if _, ok := see(t, rdb, n.app, "p1"); ok {
			t.Error("a peer is known that was not seen for over an hour")
		}
		if _, ok := see(t, rdb, n.app, "p100"); !ok {
			t.Error("a peer that was just seen is not known")
		}
		for b := range keys.Buckets("app") {
			due := b.Due(string(deadline.Forget))
			if at := rdb.ZScore(t.Context(), due, "peers").Val(); at > 0 && time.Until(time.UnixMilli(int64(at))) > time.Hour {
				t.Errorf("%s is looked at only in %v", b, time.Until(time.UnixMilli(int64(at))))
			}
			if err := n.forget(t.Context(), []deadline.Due{{App: "app", Bucket: b, IDs: []string{"peers"}}}); err != nil {
				t.Fatal(err)
			}
			if at := rdb.ZScore(t.Context(), due, "peers").Val(); at == 0 && rdb.HLen(t.Context(), b.Peers()).Val() > 0 {
				t.Errorf("%s is not looked at again", b)
			}
		}
		want := append(namesOf(200)[100:], "anon_y", "online")
		slices.Sort(want)
		if got := all(t, rdb); !slices.Equal(got, want) {
			t.Errorf("left are %q", got)
		}
	})
}

// An app that remembers no peers has those that are online.
func TestNotRemembered(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, `"rememberPeersSec":0,`))
		n.gone("p")
		n.connect("q", "")
		n.settled()
		if got := all(t, rdb); !slices.Equal(got, []string{"q"}) {
			t.Errorf("left are %q", got)
		}
	})
}

// Over the app's bound the longest unseen are forgotten, and none that is online.
func TestTooMany(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		n := start(t, rdb, "aa", directory(t, `"maxRememberedPeers":100,`))
		n.gone(namesOf(90)...)
		for i := range 90 {
			n.seen(fmt.Sprint("p", i), time.Duration(100-i)*time.Minute)
		}
		n.connect("online", "")
		n.settled()
		n.seen("online", 24*time.Hour)
		for i := range 20 {
			n.connect(fmt.Sprint("new", i), "")
		}
		n.settled()
		redistest.Eventually(t, patience, "there are 100", func() bool {
			n := int64(0)
			for b := range keys.Buckets("app") {
				n += rdb.HLen(t.Context(), b.Peers()).Val()
			}
			return n <= 100
		})
		got := all(t, rdb)
		for i := range 90 {
			if has := slices.Contains(got, fmt.Sprint("p", i)); has != (i >= 11) {
				t.Errorf("p%d is known: %v", i, has)
			}
		}
		if !slices.Contains(got, "online") || len(got) != 100 {
			t.Errorf("left are %d, %q", len(got), got)
		}
	})
}
