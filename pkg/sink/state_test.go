package sink

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

var keys rediskeys.Namespace

// stateModel is the state of a sink, by the words of the protocol.
type stateModel struct {
	is, sink    string
	since       int64
	tries       int
	retry       int64
	by          string
	claim       int64
	err         string
	errAt       int64
	deliveredAt int64
}

const claimTime = 30 * time.Second

func (m *stateModel) clear() {
	m.is, m.sink, m.since, m.tries, m.retry, m.by, m.claim = "", "", 0, 0, 0, "", 0
}

// look is what a worker hears.
func (m *stateModel) look(now int64, sink, who string, bytes int64) string {
	switch {
	case m.is == "" || m.sink != sink:
		return "ok"
	case m.is == "stopped":
		return "stopped"
	case now < m.retry:
		return fmt.Sprint("failing ", m.retry-now)
	case m.by != "" && m.by != who && now < m.claim:
		return fmt.Sprint("failing ", m.claim-now)
	case bytes == 0 && m.deliveredAt >= m.errAt:
		m.clear()
		return "ok"
	case bytes == 0:
		return "failing 0"
	}
	m.by, m.claim = who, now+claimTime.Milliseconds()
	return "try"
}

// failed returns the bounds of the pause, or 0 if it stays as it is.
func (m *stateModel) failed(now int64, sink, who, why string, after int64, progress bool) (news bool, least, most int64) {
	same := m.is != "" && m.sink == sink
	if same && m.is == "stopped" {
		return false, 0, 0
	}
	tried := same && m.by == who
	switch {
	case !same || progress:
		m.tries = 1
	case tried:
		m.tries++
	}
	if !same {
		m.since = now
	}
	if !same || tried {
		m.by, m.claim = "", 0
	}
	m.is, m.sink, m.err, m.errAt = "failing", sink, why, now
	pause := min(int64(3600_000), 1000<<max(0, min(m.tries-1, 30)))
	switch {
	case same && !tried && !progress && after == 0:
		return false, 0, 0
	case same && !tried && !progress:
		m.retry = max(m.retry, now+after)
		return false, 0, 0
	case after > 0:
		return !same, after, after
	}
	return !same, pause / 2, pause
}

// unable returns whether the sink is failing since now.
func (m *stateModel) unable(now int64, sink, who, why string, bytes, waited, grace int64) bool {
	m.err, m.errAt = why, now
	if m.is != "" && m.sink == sink {
		if m.by == who {
			m.by, m.claim = "", 0
		}
		return false
	}
	if bytes == 0 || waited < grace || now-m.deliveredAt < grace {
		return false
	}
	m.clear()
	m.is, m.sink, m.since, m.retry = "failing", sink, now, now
	return true
}

// TestStateModel plays random steps of several workers, of two versions of a sink, against Redis
// and the model.
func TestStateModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("embedded ", seed), func(t *testing.T) {
			c, rdb := redistest.Clocked(t)
			playStates(t, rdb, c, seed)
		})
	}
}

func playStates(t *testing.T, rdb *redis.Client, c *redistest.Clock, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 3))
	ctx := t.Context()
	states, m := NewStates(rdb, keys), &stateModel{}
	sinks := []*apps.Sink{{Type: apps.SinkSQS}, {Type: apps.SinkKinesis}}
	app, counts := &apps.App{ID: "app"}, keys.GroupBytes("app", "crm")
	bytes := int64(0)
	for step := range 400 {
		now := c.Now.UnixMilli()
		of := sinks[r.IntN(2)*r.IntN(2)] // the first more often
		a := about{"app", "crm", of.Digest(), fmt.Sprint("w", r.IntN(3))}
		switch r.IntN(13) {
		case 0:
			bytes = int64(r.IntN(2) * 64)
			rdb.HSet(ctx, counts, "all", bytes)
		case 1:
			c.Pass(time.Duration(r.IntN(2000)) * time.Millisecond)
		case 2:
			c.Pass(time.Duration(r.IntN(3600)) * time.Second)
		case 3, 4, 5:
			l, err := states.look(ctx, a, claimTime)
			if err != nil {
				t.Fatal(err)
			}
			got := string(l.condition)
			if l.try {
				got = "try"
			} else if l.condition == Failing {
				got = fmt.Sprint(got, " ", l.wait.Milliseconds())
			}
			if want := m.look(now, a.digest, a.who, bytes); got != want || l.bytes != bytes {
				t.Fatalf("step %d: look of %+v: %s of %d bytes, want %s of %d", step, a, got, l.bytes, want, bytes)
			}
		case 6, 7, 8:
			after := int64(r.IntN(2) * r.IntN(2) * r.IntN(60_000))
			why, progress := fmt.Sprint("why ", step), r.IntN(4) == 0
			news, retry, err := states.failed(ctx, a, why, time.Duration(after)*time.Millisecond, progress)
			if err != nil {
				t.Fatal(err)
			}
			wantNews, least, most := m.failed(now, a.digest, a.who, why, after, progress)
			if most > 0 {
				if ms := retry.Milliseconds(); ms < least || ms > most {
					t.Fatalf("step %d: tried again in %d ms, want %d to %d", step, ms, least, most)
				}
				m.retry = now + retry.Milliseconds()
			}
			if news != wantNews {
				t.Fatalf("step %d: news %v, want %v", step, news, wantNews)
			}
		case 9:
			delivered := r.IntN(2) == 0
			recovered, err := states.works(ctx, a, delivered)
			if err != nil {
				t.Fatal(err)
			}
			if delivered {
				m.deliveredAt = now
			}
			want := m.is == "failing" && m.sink == a.digest && m.by == a.who
			if want {
				m.clear()
			}
			if recovered != want {
				t.Fatalf("step %d: recovered %v, want %v", step, recovered, want)
			}
		case 10:
			news, err := states.stopped(ctx, a, "gone")
			if err != nil {
				t.Fatal(err)
			}
			want, since := m.is != "stopped" || m.sink != a.digest, now
			if m.is != "" && m.sink == a.digest {
				since = m.since
			}
			m.clear()
			m.is, m.sink, m.since, m.err, m.errAt = "stopped", a.digest, since, "gone", now
			if news != want {
				t.Fatalf("step %d: news %v, want %v", step, news, want)
			}
		case 11:
			why, waited, grace := fmt.Sprint("cannot ", step), int64(r.IntN(3))*1000, int64(r.IntN(3))*1000
			news, got, err := states.unable(ctx, a, why, time.Duration(waited)*time.Millisecond, time.Duration(grace)*time.Millisecond)
			if err != nil {
				t.Fatal(err)
			}
			if want := m.unable(now, a.digest, a.who, why, bytes, waited, grace); news != want || got != bytes {
				t.Fatalf("step %d: unable: %v of %d bytes, want %v of %d", step, news, got, want, bytes)
			}
		case 12:
			var err error
			if r.IntN(2) == 0 {
				err = states.Resume(ctx, app, &apps.Group{Name: "crm"})
				m.clear()
			} else {
				err = states.begin(ctx, a)
				if m.sink != a.digest {
					m.clear()
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range sinks {
			want := State{Condition: OK, LastError: m.err, LastErrorAt: m.errAt, LastDeliveredAt: m.deliveredAt}
			if m.is != "" && m.sink == s.Digest() {
				want.Condition, want.Since, want.RetryAt = Condition(m.is), m.since, m.retry
			}
			got, err := states.Read(ctx, app, &apps.Group{Name: "crm", Sink: s})
			if err != nil || got != want {
				t.Fatalf("step %d: the state of %s is %+v, %v; want %+v", step, s.Type, got, err, want)
			}
		}
	}
}

// The scripts run in every form of Redis, and what they keep does not stay for ever.
func TestStateEverywhere(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := t.Context()
		states := NewStates(rdb, keys)
		app, g := &apps.App{ID: "app"}, &apps.Group{Name: "crm", Sink: &apps.Sink{Type: apps.SinkSQS}}
		a := about{"app", "crm", g.Sink.Digest(), "w"}
		lives := func() {
			t.Helper()
			if ttl := rdb.TTL(ctx, keys.Sink("app", "crm")).Val(); ttl < 29*24*time.Hour {
				t.Errorf("the state lives for %v", ttl)
			}
		}
		if err := states.begin(ctx, a); err != nil {
			t.Fatal(err)
		}
		if l, err := states.look(ctx, a, claimTime); err != nil || l.condition != OK {
			t.Fatalf("look %+v, %v", l, err)
		}
		long := strings.Repeat("é", 400) + "\xff"
		if news, retry, err := states.failed(ctx, a, long, 0, false); err != nil || !news || retry < 500*time.Millisecond || retry > time.Second {
			t.Fatalf("failed: %v %v %v", news, retry, err)
		}
		lives()
		s, err := states.Read(ctx, app, g)
		if err != nil || s.Condition != Failing || s.RetryAt <= s.Since || s.LastErrorAt != s.Since || len(s.LastError) > 520 || !strings.HasPrefix(s.LastError, "éé") {
			t.Errorf("state %+v, %v", s, err)
		}
		if recovered, err := states.works(ctx, a, true); err != nil || recovered {
			t.Fatalf("works, but this is not the try: %v %v", recovered, err)
		}
		rdb.HSet(ctx, keys.GroupBytes("app", "crm"), "all", 64)
		redistest.Eventually(t, patience, "it may be tried", func() bool {
			l, err := states.look(ctx, a, claimTime)
			return err == nil && l.try
		})
		if recovered, err := states.works(ctx, a, true); err != nil || !recovered {
			t.Fatalf("works: %v %v", recovered, err)
		}
		if news, err := states.stopped(ctx, a, "gone"); err != nil || !news {
			t.Fatalf("stopped: %v %v", news, err)
		}
		if err := states.refused(ctx, a, "400"); err != nil {
			t.Fatal(err)
		}
		rdb.Expire(ctx, keys.Sink("app", "crm"), time.Hour)
		if l, err := states.look(ctx, a, claimTime); err != nil || l.condition != Stopped {
			t.Fatalf("look %+v, %v", l, err)
		}
		lives() // a sink that is stopped stays so for as long as nodes look at it
		if err := states.Resume(context.Background(), app, g); err != nil {
			t.Fatal(err)
		}
		if s, err := states.Read(ctx, app, g); err != nil || s.Condition != OK || s.LastError != "400" || s.LastDeliveredAt == 0 {
			t.Errorf("state %+v, %v", s, err)
		}
	})
}

// A Redis that is out of memory takes what is told of sinks, or they could not drain it.
func TestStateInAFullRedis(t *testing.T) {
	rdb, ctx := redistest.Start(t).Client(), t.Context()
	states, app := NewStates(rdb, keys), &apps.App{ID: "app"}
	g := &apps.Group{Name: "crm", Sink: &apps.Sink{Type: apps.SinkSQS}}
	rdb.HSet(ctx, keys.GroupBytes("app", "crm"), "all", 64)
	if err := rdb.ConfigSet(ctx, "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Set(ctx, "full", "1", 0).Err(); err == nil {
		t.Fatal("Redis is not full")
	}
	a := about{"app", "crm", g.Sink.Digest(), "w"}
	if _, err := states.works(ctx, a, true); err != nil {
		t.Error(err)
	}
	if _, _, err := states.failed(ctx, a, "away", time.Millisecond, false); err != nil {
		t.Error(err)
	}
	redistest.Eventually(t, 10*time.Second, "it may be tried", func() bool {
		l, err := states.look(ctx, a, claimTime)
		return err == nil && l.try
	})
	if _, err := states.stopped(ctx, a, "gone"); err != nil {
		t.Error(err)
	}
	if err := states.refused(ctx, a, "400"); err != nil {
		t.Error(err)
	}
	if err := states.Resume(ctx, app, g); err != nil {
		t.Error(err)
	}
	if s, err := states.Read(ctx, app, g); err != nil || s.Condition != OK || s.LastDeliveredAt == 0 || s.LastError != "400" {
		t.Errorf("state %+v, %v", s, err)
	}
}
