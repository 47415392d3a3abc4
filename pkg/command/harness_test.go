package command

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

const channel = "devices/cam-1/commands"

// testClock has the scripts go by a key in place of Redis's clock.
const testClock = `
local now = tonumber(redis.call('GET', KEYS[7] .. ':clock'))
local micros = now * 1000
`

var byTestClock = newScripts(testClock + deadline.Lua)

// world is a Store on a Redis of its own, whose clock the test moves.
type world struct {
	t     testing.TB
	store *Store
	rdb   *redis.Client
	keys  rediskeys.Namespace
	key   *apps.Key
	now   int64
	// server is the Redis; nil: an embedded one.
	server *redistest.Server

	mu    sync.Mutex
	ended map[Status]int // that the store has told
}

// endedSoFar are the ends that were told since the last call.
func (w *world) endedSoFar() map[Status]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	ended := w.ended
	w.ended = map[Status]int{}
	return ended
}

const document = `{"apps":[{"id":"app","commandBytes":1048576,"keys":[{"id":"sk_a","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish"]}]},
 {"id":"other","keys":[{"id":"sk_b","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish"]}]}]}`

const begin = 1767222000000

func newWorld(t testing.TB, rdb *redis.Client) *world {
	t.Helper()
	dir, err := apps.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, rdb: rdb, ended: map[Status]int{}}
	w.store = NewStore(Options{Redis: rdb, Keys: w.keys, Apps: apps.NewStore(dir), Log: slog.New(slog.DiscardHandler), Ended: func(s Status) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended[s]++
	}})
	w.store.scripts = byTestClock
	t.Cleanup(w.store.Finish)
	w.key, _ = dir.Key("sk_a")
	w.pass(begin)
	return w
}

// onBoth runs a test on an embedded and on a real Redis.
func onBoth(t *testing.T, test func(t *testing.T, w *world)) {
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		_, rdb := redistest.Embedded(t)
		test(t, newWorld(t, rdb))
	})
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		server := redistest.Start(t)
		w := newWorld(t, server.Client())
		w.server = server
		test(t, w)
	})
}

// pass lets so many milliseconds pass.
func (w *world) pass(ms int64) {
	w.t.Helper()
	w.now += ms
	for _, app := range []string{"app", "other"} {
		if err := w.rdb.Set(context.Background(), w.keys.Bucket(app, channel).Due("commands")+":clock", w.now, 0).Err(); err != nil {
			w.t.Fatal(err)
		}
	}
}

// join subscribes peers to the channel.
func (w *world) join(peers ...string) {
	w.t.Helper()
	fields := []any{"", "1:1"}
	for _, p := range peers {
		fields = append(fields, p, "n1\n")
	}
	if err := w.rdb.HSet(context.Background(), w.keys.Bucket("app", channel).Members(channel), fields...).Err(); err != nil {
		w.t.Fatal(err)
	}
}

// with is the usual command with changes.
func (w *world) with(change func(*New)) New {
	n := New{Key: w.key, Channel: channel, From: "server", Data: []byte(`{"cmd":"reboot"}`), Timeout: 30 * time.Second}
	if change != nil {
		change(&n)
	}
	return n
}

func (w *world) create(change func(*New)) string {
	w.t.Helper()
	created, err := w.store.Create(context.Background(), w.with(change))
	if err != nil {
		w.t.Fatal(err)
	}
	return created.ID
}

func (w *world) read(id string) *Command {
	w.t.Helper()
	c, err := w.store.Read(context.Background(), "app", id, "")
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// claim claims for peers; id "" is what waits.
func (w *world) claim(id string, confirms bool, peers ...string) *Claim {
	w.t.Helper()
	c := &Claim{App: "app", Channel: channel, ID: id, Node: "n1"}
	if id == "" && len(peers) > 1 {
		for i, p := range peers {
			for _, h := range w.claim("", confirms, p).HandedOver {
				h.Peer = i
				c.HandedOver = append(c.HandedOver, h)
			}
		}
		return c
	}
	const atOnce = 120 // as nodes do
	if id != "" && len(peers) > atOnce {
		for at := 0; at < len(peers); at += atOnce {
			for _, h := range w.claim(id, confirms, peers[at:min(at+atOnce, len(peers))]...).HandedOver {
				h.Peer += at
				c.HandedOver = append(c.HandedOver, h)
			}
		}
		return c
	}
	for _, p := range peers {
		c.Peers = append(c.Peers, Claimant{Peer: p, Confirms: confirms})
	}
	if err := w.store.Claim(context.Background(), []*Claim{c}); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) answer(id, peer string, status Status, data string) AnswerOutcome {
	w.t.Helper()
	a := &Answer{App: "app", Peer: peer, ID: id, Status: status, Data: []byte(data)}
	if err := w.store.Answer(context.Background(), []*Answer{a}); err != nil {
		w.t.Fatal(err)
	}
	return a.Outcome
}

// wants checks a command's status and counts.
func (w *world) wants(id string, status Status, counts Counts) {
	w.t.Helper()
	if c := w.read(id); c.Status != status || c.Counts != counts {
		w.t.Errorf("%s with %+v, want %s with %+v", c.Status, c.Counts, status, counts)
	}
}

// describe is what an envelope says.
func describe(t testing.TB, payload string) string {
	t.Helper()
	var d envelope.Delivery
	if err := d.Decode([]byte(payload)); err != nil || d.Command == nil {
		t.Fatalf("%q: %v", payload, err)
	}
	body := d.Frame[2:]
	if d.Frame[1] == 126 {
		body = d.Frame[4:]
	}
	return fmt.Sprintf("%d %s %v %v %s", d.Command.Stage, d.Command.ID, d.Command.Timeout, d.Command.TTL, body)
}
