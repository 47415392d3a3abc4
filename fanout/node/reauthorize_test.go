package node

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
)

// edited is the document with replacements in it, each of which finds its place once.
func edited(t testing.TB, oldnew ...string) string {
	t.Helper()
	text := document
	for i := 0; i < len(oldnew); i += 2 {
		if strings.Count(text, oldnew[i]) != 1 {
			t.Fatalf("%q is %d times in the document", oldnew[i], strings.Count(text, oldnew[i]))
		}
		text = strings.Replace(text, oldnew[i], oldnew[i+1], 1)
	}
	return text
}

// replace puts another document in force, as whoever reads it does.
func (r *running) replace(text string) {
	r.t.Helper()
	dir, err := apps.Parse([]byte(text))
	check(r.t, err)
	r.opt.Apps.Replace(dir)
}

// Protocol §7: what a new document does to the connections that there are.
func TestConnectionsFollowTheDocument(t *testing.T) {
	const pause = `"id":"app_demo",`
	r := start(t)
	a, b := r.connect(keyID, "a"), r.connect(keyID, "b")
	public, err := r.dial("?key=pk_live_demo", nil)
	check(t, err)
	public.wantText(`{"type":"welcome"`)
	few := r.connect("sk_live_few", "few")
	a.send(`{"type":"subscribe","channel":"devices/a","requestId":"s"}`, `{"type":"subscribe","channel":"fleets/f","requestId":"s"}`)
	a.wantText(`{"type":"ack"`)
	a.wantText(`{"type":"ack"`)

	narrowed := []string{`"devices/**","fleets/**"`, `"devices/**"`}
	r.replace(edited(t, narrowed...))
	a.wantText(`{"type":"error","code":"channel_not_authorized","message":"unsubscribed from \"fleets/f\"`)
	for _, p := range []*peer{a, b, public, few} {
		p.alive()
	}
	r.replace(edited(t, append(narrowed, `"id":"pk_live_demo"`, `"id":"pk_live_next"`)...))
	public.wantClose(4001, "revoked: key pk_live_demo")
	a.alive()

	r.replace(edited(t, pause, pause+`"suspended":true,`))
	a.wantClose(4012, "the app is suspended")
	b.wantClose(4012, "the app is suspended")
	eventually(t, "said in the log", func() bool {
		return strings.Contains(r.log.String(), `msg="closed the connections of revoked keys and suspended apps" connections=2`)
	})
	few.alive()
	refused, err := r.dial(query(r.token(keyID, "a")), nil)
	check(t, err)
	refused.wantClose(4012, "the app is suspended")

	r.replace(document)
	r.connect(keyID, "a").alive()
	few.alive()
}

// HOSTILE: a connect that was verified under the former document, and is only
// known to the node when all others have been looked at already.
func TestAConnectDoesNotSlipPastARevocation(t *testing.T) {
	admitting := &hold{key: "fw:{app_demo}:connections"}
	_, rdb := redistest.Embedded(t)
	rdb.AddHook(admitting)
	r := start(t, func(o *Options) { o.Redis = rdb })
	// One in every group of the registry, so that all were walked when all are closed.
	others := make([]*peer, keepAliveGroups)
	for i := range others {
		others[i] = r.connect(keyID, fmt.Sprint(i))
	}
	token := r.token(keyID, "late")

	admitting.next(func() {
		r.replace(edited(t, `"id":"`+keyID+`"`, `"id":"sk_live_new"`))
		for _, p := range others {
			p.wantClose(4002, "revoked: key "+keyID)
		}
	})
	late, err := r.dial(query(token), nil)
	check(t, err)
	late.wantText(`{"type":"welcome"`) // it was let in
	late.wantClose(4002, "revoked: key "+keyID)
	eventually(t, "without connections", func() bool { return len(r.sessions.all()) == 0 })
}

// hold is a Redis client's hook that calls a function before the next connection
// of an app is taken from its plan.
type hold struct {
	key  string
	then atomic.Pointer[func()]
}

func (h *hold) next(f func()) { h.then.Store(&f) }

func (h *hold) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (h *hold) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (h *hold) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, c := range cmds {
			// evalsha, sha, 4, its keys, node, held, cap, lease, expiry, who asks, …
			if args := c.Args(); len(args) > 12 && args[3] == h.key {
				if f := h.then.Swap(nil); f != nil {
					(*f)()
				}
			}
		}
		return next(ctx, cmds)
	}
}

// Documents that come and go while connections do: in the end, none is left under
// the key that the last document does not have.
func TestRevocationsRaceWithConnects(t *testing.T) {
	r := start(t)
	without := edited(t, `"id":"`+keyID+`"`, `"id":"sk_live_new"`)
	token := r.token(keyID, "a")
	ctx, stop := context.WithCancel(t.Context())
	var connecting sync.WaitGroup
	for range 4 {
		connecting.Go(func() {
			for ctx.Err() == nil {
				if _, err := r.dial(query(token), nil); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		r.replace(document)
		eventually(t, "connected", func() bool { return len(r.sessions.all()) > 0 })
		r.replace(without)
	}
	stop()
	connecting.Wait()
	eventually(t, "without connections", func() bool { return len(r.sessions.all()) == 0 })
}

// fake is a connection that its key's revocation closes, or not.
type fake struct {
	revoked bool
	looked  *[]time.Duration // when, since the beginning
	began   time.Time
}

func (f fake) Reauthorize() bool {
	*f.looked = append(*f.looked, time.Since(f.began))
	return f.revoked
}

// 10,000 connections of a revoked key are closed over 2 s, and not later for
// others between them; where nothing is closed, nothing waits.
func TestARevocationIsNoStampede(t *testing.T) {
	for _, tt := range []struct {
		name    string
		revoked func(i int) bool
		takes   time.Duration
	}{
		{"all are revoked", func(int) bool { return true }, 2 * time.Second},
		{"every other one is", func(i int) bool { return i%2 == 0 }, time.Second},
		{"none is", func(int) bool { return false }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const connections = 10_000
				var looked []time.Duration
				all := make([]fake, connections)
				closes := 0
				for i := range all {
					all[i] = fake{tt.revoked(i), &looked, time.Now()}
					if all[i].revoked {
						closes++
					}
				}
				began, closed := time.Now(), 0
				for lot := range 4 { // the pause is counted over all groups
					closed = reauthorizeAll(t.Context(), all[lot*connections/4:(lot+1)*connections/4], closed)
				}
				if len(looked) != connections || closed != closes {
					t.Fatalf("looked at %d, closed %d", len(looked), closed)
				}
				if took := time.Since(began); took != tt.takes {
					t.Errorf("took %v, want %v", took, tt.takes)
				}
				byTime := map[time.Duration]int{}
				for i, at := range looked {
					if tt.revoked(i) {
						byTime[at]++
					}
				}
				for at, n := range byTime {
					if n > closeLot {
						t.Errorf("%d closed at once, at %v", n, at)
					}
				}
			})
		})
	}
	t.Run("the node stops", func(t *testing.T) {
		var looked []time.Duration
		all := make([]fake, 10*closeLot)
		for i := range all {
			all[i] = fake{true, &looked, time.Now()}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if closed := reauthorizeAll(ctx, all, 0); closed == len(all) || closed == 0 {
			t.Errorf("%d were closed by a node that has stopped", closed)
		}
	})
}
