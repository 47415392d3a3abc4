package group_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/group"
	"fleetwire/pkg/redisconn/redistest"
)

const aging = `{"name":"ingest","patterns":["**"],"ackTimeoutSec":30,"maxDeliver":2,"maxAgeSec":3600}`

func TestAge(t *testing.T) {
	c, rdb := redistest.Clocked(t)
	p := newProcess(t, rdb, aging, "")
	p.mustPublish("a", "1")
	c.Pass(10 * time.Minute)
	p.mustPublish("a", "2")
	p.mustPublish("b", "3")
	if got := p.due("a"); !slices.Equal(got, []string{"ingest"}) {
		t.Errorf("deadlines %v", got)
	}
	p.pull("one", 1)
	c.Pass(time.Hour - 10*time.Minute)
	p.sweep("ingest", "a", "b")
	// The lease of the first may run, and its message is gone.
	if got := p.dropped[group.DroppedByAge]; got != 1 {
		t.Errorf("dropped %d", got)
	}
	c.Pass(10 * time.Minute)
	p.wantPull("two", 100, "") // a pull drops messages that are too old, too
	p.wantState("lag 0 pending 0 dead 0 bytes 0 aged 3 overflow 0")
	p.sweep("ingest", "a", "b")
	if got := p.due("a"); len(got) != 0 {
		t.Errorf("deadlines %v", got)
	}
	if p.dropped[group.DroppedByAge] != 3 {
		t.Errorf("dropped %v", p.dropped)
	}
}

// A lease that ends without an acknowledgement has the message delivered again, and at last
// buried.
func TestLeasesEnd(t *testing.T) {
	c, rdb := redistest.Clocked(t)
	p := newProcess(t, rdb, aging, "")
	p.mustPublish("a", "1")
	p.mustPublish("a", "2")
	first := p.wantPull("one", 1, "a=1")
	c.Pass(29 * time.Second)
	p.wantPull("two", 10, "")
	c.Pass(time.Second)
	p.wantPull("two", 10, "a=1*2 a=2")
	p.ack(first, false)
	p.wantPull("one", 10, "")
	c.Pass(30 * time.Second)
	late := p.wantPull("one", 10, "a=2*2") // 1 was delivered twice
	letters, _, err := p.store.Dead(ctx, p.app, p.group, "", 10)
	if err != nil || len(letters) != 1 || letters[0].Reason != group.ReasonTimeout || string(letters[0].Data) != "1" || letters[0].BuriedAt != c.Now.UnixMilli() {
		t.Errorf("%+v %v", letters, err)
	}
	c.Pass(time.Hour - time.Second)
	p.ack(late, true) // nobody else has got it
	p.wantState("lag 0 pending 0 dead 1 bytes 128 aged 0 overflow 0")
	c.Pass(time.Second)
	p.sweep("ingest", "a")
	p.wantState("lag 0 pending 0 dead 0 bytes 0 aged 0 overflow 0")
}

func TestNackDelays(t *testing.T) {
	c, rdb := redistest.Clocked(t)
	p := newProcess(t, rdb, aging, "")
	for i := range 3 {
		p.mustPublish("a", fmt.Sprint(i+1))
	}
	got := p.pull("one", 2)
	p.nack(time.Minute, got[0])
	p.wantPull("two", 10, "") // 2 is still served
	p.ack(got[1:], true)
	p.wantPull("two", 10, "a=3")
	p.wantState("lag 1 pending 1 dead 0 bytes 256 aged 0 overflow 0")
	c.Pass(time.Minute)
	p.wantPull("one", 10, "a=1*2 a=3*2")
}

// The oldest messages make room, those of the same bucket at once.
func TestDropOldest(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, `{"name":"ingest","patterns":["**"],"maxBytes":1048576,"overflow":"drop_oldest"}`, "")
		data := func(i int) string { return strconv.Itoa(i) + strings.Repeat("0", 30000) }
		for i := range 50 {
			p.mustPublish("a", data(100+i))
		}
		s := p.state()
		if s.Bytes > 1048576 || s.Bytes < 1048576-31000 || s.DroppedByOverflow == 0 || s.Lag+s.DroppedByOverflow != 50 || p.dropped[group.DroppedByOverflow] != int(s.DroppedByOverflow) {
			t.Errorf("state %+v, dropped %v", s, p.dropped)
		}
		// Another bucket has nothing to drop, so a node sees to it.
		p.mustPublish("b", data(200))
		p.mustPublish("c", data(201))
		if over := p.state(); over.Bytes <= 1048576 || over.DroppedByOverflow != s.DroppedByOverflow {
			t.Errorf("state %+v", over)
		}
		if got := p.due("c"); !slices.Contains(got, "*ingest") {
			t.Errorf("deadlines %v", got)
		}
		p.sweep("*ingest", "b", "c")
		after := p.state()
		if after.Bytes > 1048576-1048576/100 || after.Bytes < 1048576-100000 || slices.Contains(p.due("c"), "*ingest") {
			t.Errorf("state %+v, deadlines %v", after, p.due("c"))
		}
		got := p.pull("one", 100)
		if s := shown(got); !strings.Contains(s, "b=200") || !strings.Contains(s, "c=201") || !strings.Contains(s, "a=149") || strings.Contains(s, "a=100") {
			t.Errorf("got %s", s)
		}
		if len(got) != int(after.Lag) || after.Lag+after.DroppedByOverflow != 52 {
			t.Errorf("got %d messages of %+v", len(got), after)
		}
	})
}

// A process that died had counted messages that it did not append. A node finds that out,
// also if the group refuses everything by then.
func TestCountIsMended(t *testing.T) {
	c, rdb := redistest.Clocked(t)
	p := newProcess(t, rdb, aging[:len(aging)-1]+`,"maxBytes":1048576}`, "")
	p.mustPublish("a", "1")
	died := func(channel string, bytes int) {
		for _, field := range []string{keys.Bucket("app", channel).Tag(), "all"} {
			rdb.HIncrBy(ctx, keys.GroupBytes("app", "ingest"), field, int64(bytes))
		}
	}
	died("a", 1<<20)
	died("nothing/here", 64)
	if p.publish("b", "1") != protocol.GroupFull {
		t.Fatal("the group is not full")
	}
	if got := p.due("b"); !slices.Contains(got, "*ingest") {
		t.Errorf("deadlines %v", got)
	}
	p.sweep("*ingest", "b")
	for _, channel := range []string{"a", "nothing/here"} {
		if got := p.due(channel); !slices.Equal(got, []string{"ingest"}) {
			t.Errorf("deadlines of %s: %v", channel, got)
		}
	}
	p.sweep("ingest", "a", "nothing/here")
	c.Pass(4999 * time.Millisecond)
	died("a", 1000) // this is another change, which is under way
	p.sweep("ingest", "a", "nothing/here")
	if p.state().Bytes != 128+1<<20+64+1000 {
		t.Errorf("put right too early: %+v", p.state())
	}
	c.Pass(time.Millisecond)
	p.sweep("ingest", "a", "nothing/here")
	if p.state().Bytes != 128+1000 {
		t.Errorf("bytes %d", p.state().Bytes)
	}
	died("a", -1000) // and that is over
	p.mustPublish("b", "1")
	p.sweep("ingest", "a", "nothing/here")
	if got := p.due("nothing/here"); len(got) != 0 {
		t.Errorf("deadlines %v", got)
	}
	if got := p.counted(); got["all"] != "256" || len(got) != 3 {
		t.Errorf("counted %v", got)
	}
	// So is a count that is too low, as of a group whose key is gone.
	rdb.Del(ctx, keys.GroupBytes("app", "ingest"))
	p.sweep("ingest", "a", "b")
	c.Pass(5 * time.Second)
	p.sweep("ingest", "a", "b")
	if got := p.counted(); len(got) != 0 {
		t.Errorf("counted %v: a key that is gone is not made anew by a sweep alone", got)
	}
}

// A pull that finds nothing where the count says that there is something has it looked at.
func TestPullFindsNothing(t *testing.T) {
	_, rdb := redistest.Clocked(t)
	p := newProcess(t, rdb, aging, "")
	rdb.HSet(ctx, keys.GroupBytes("app", "ingest"), keys.Bucket("app", "a").Tag(), 64, "all", 64)
	p.wantPull("one", 10, "")
	if got := p.due("a"); !slices.Equal(got, []string{"ingest"}) {
		t.Errorf("deadlines %v", got)
	}
}

// A group that is not in the document any more is forgotten.
func TestGroupIsGone(t *testing.T) {
	_, rdb := redistest.Clocked(t)
	p := newProcess(t, rdb, aging, "")
	p.mustPublish("a", "1")
	p.mustPublish("b", "1")
	p.pull("one", 1)
	was := p.group
	p.use("", "")
	p.sweep("ingest", "a", "b")
	p.group = was
	for _, key := range rdb.Keys(ctx, "*").Val() {
		if strings.Contains(key, "group") {
			t.Errorf("%s is left", key)
		}
	}
}

// All keys of a group expire if no node looks after them.
func TestKeysExpire(t *testing.T) {
	c, rdb := redistest.Clocked(t)
	p := newProcess(t, rdb, aging, "")
	for i := range 5 {
		p.mustPublish("a", fmt.Sprint(i))
	}
	got := p.pull("one", 2)
	p.nack(12*time.Hour, got[0])
	p.pull("one", 2)
	c.Pass(30 * time.Second)
	p.pull("one", 1)
	c.Pass(30 * time.Second)
	p.pull("one", 10)
	c.Pass(30 * time.Second)
	p.pull("one", 10) // and some are dead
	kinds := map[string]bool{}
	for _, key := range rdb.Keys(ctx, "*group*").Val() {
		if strings.Contains(key, ":due:") {
			continue
		}
		kinds[key[strings.Index(key, "}:")+2:]] = true
		if ttl := rdb.PTTL(ctx, key).Val(); ttl <= time.Hour || ttl > time.Hour+48*time.Hour {
			t.Errorf("%s expires in %v", key, ttl)
		}
	}
	if len(kinds) != 5 {
		t.Errorf("keys %v", kinds)
	}
	c.Pass(50 * time.Hour)
	if left := rdb.Keys(ctx, "*}:group*").Val(); len(left) != 0 {
		t.Errorf("%v are left", left)
	}
}

// The keys live on though no node looks, as long as messages come, and at once by a new maxAgeSec. A
// bucket that a node has found empty has a deadline again with its next message.
func TestMessagesHaveKeysLiveOn(t *testing.T) {
	c, rdb := redistest.Clocked(t)
	p := newProcess(t, rdb, aging, "")
	least := func() time.Duration {
		t.Helper()
		b := keys.Bucket("app", "a")
		return min(rdb.PTTL(ctx, b.Group("ingest")).Val(), rdb.PTTL(ctx, b.GroupState("ingest")).Val())
	}
	for range 100 {
		p.mustPublish("a", "1")
		if ttl := least(); ttl < 25*time.Hour-3*time.Minute {
			t.Fatalf("the keys expire in %v", ttl)
		}
		c.Pass(50 * time.Second)
	}
	p.use(strings.Replace(aging, "3600", "36000", 1), "")
	p.mustPublish("a", "2")
	if ttl := least(); ttl < 34*time.Hour {
		t.Errorf("the keys expire in %v", ttl)
	}
	p.ack(p.pull("one", 500), true)
	p.sweep("ingest", "a")
	if got := p.due("a"); len(got) != 0 {
		t.Errorf("deadlines %v of an empty bucket", got)
	}
	p.mustPublish("a", "3")
	if got := p.due("a"); !slices.Equal(got, []string{"ingest"}) {
		t.Errorf("deadlines %v", got)
	}
}
