package command

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
)

// The way that most commands go.
func TestOneDeviceAnswers(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("cam-1")
		id := w.create(nil)
		w.wants(id, Waiting, Counts{})
		w.pass(7)
		c := w.claim(id, false, "cam-1")
		want := []HandedOver{{Peer: 0, ID: id, Attempt: 1, ExpiresIn: -time.Millisecond, Timeout: 30 * time.Second}}
		if !reflect.DeepEqual(c.HandedOver, want) || c.More {
			t.Errorf("handed over %+v, want %+v", c.HandedOver, want)
		}
		w.wants(id, Active, Counts{Sent: 1})
		if again := w.claim(id, false, "cam-1"); len(again.HandedOver) > 0 {
			t.Errorf("handed over twice: %+v", again.HandedOver)
		}
		w.pass(180)
		if got := w.answer(id, "cam-1", Succeeded, `{"uptime":3}`); got != Taken {
			t.Errorf("outcome %d", got)
		}
		got := w.read(id)
		wantRead := &Command{
			ID: id, Channel: channel, Data: []byte(`{"cmd":"reboot"}`), From: "server", Status: Succeeded, CreatedAt: begin, Expect: 1,
			Counts:  Counts{Succeeded: 1},
			Answers: []PeerAnswer{{Peer: "cam-1", Status: Succeeded, Data: []byte(`{"uptime":3}`), Attempt: 1, SentAt: begin + 7, AnsweredAt: begin + 187}},
			seq:     got.seq,
		}
		if !reflect.DeepEqual(got, wantRead) {
			t.Errorf("read %+v\nwant %+v", got, wantRead)
		}
	})
}

func TestNobodyIsThere(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		if _, err := w.store.Create(context.Background(), w.with(func(n *New) { n.IdempotencyKey = "k" })); !errors.Is(err, ErrNobody) {
			t.Errorf("error %v", err)
		}
		w.join("cam-1")
		if created, err := w.store.Create(context.Background(), w.with(func(n *New) { n.IdempotencyKey = "k" })); created.Repeated || err != nil {
			t.Errorf("the refusal was kept: %v %v", created.Repeated, err)
		}
	})
}

// Each end of one peer, and of a command with one.
func TestEnds(t *testing.T) {
	tests := []struct {
		name   string
		does   func(w *world, id string)
		status Status
		counts Counts
	}{
		{"expired", func(w *world, id string) { w.pass(2000) }, Expired, Counts{Missing: 1}},
		{"a moment before", func(w *world, id string) { w.pass(1999) }, Waiting, Counts{}},
		{"timed out", func(w *world, id string) { w.claim(id, false, "a"); w.pass(30000) }, TimedOut, Counts{TimedOut: 1}},
		{"a moment before that", func(w *world, id string) { w.claim(id, false, "a"); w.pass(29999) }, Active, Counts{Sent: 1}},
		{"failed", func(w *world, id string) { w.claim(id, false, "a"); w.answer(id, "a", Failed, "") }, Failed, Counts{Failed: 1}},
		{"rejected", func(w *world, id string) { w.claim(id, false, "a"); w.answer(id, "a", Rejected, "1") }, Rejected, Counts{Rejected: 1}},
		{"received", func(w *world, id string) { w.claim(id, false, "a"); w.answer(id, "a", Received, "") }, Active, Counts{Received: 1}},
		{"received starts nothing anew", func(w *world, id string) {
			w.claim(id, false, "a")
			w.pass(20000)
			w.answer(id, "a", Received, "")
			w.pass(10000)
		}, TimedOut, Counts{TimedOut: 1}},
		{"running starts the timeout anew", func(w *world, id string) {
			w.claim(id, false, "a")
			for range 3 {
				w.pass(29000)
				w.answer(id, "a", Running, "1")
			}
		}, Active, Counts{Running: 1}},
		{"running ends too", func(w *world, id string) {
			w.claim(id, false, "a")
			w.answer(id, "a", Running, "1")
			w.pass(30000)
		}, TimedOut, Counts{TimedOut: 1}},
		{"an earlier state is ignored", func(w *world, id string) {
			w.claim(id, false, "a")
			w.answer(id, "a", Running, "1")
			if w.answer(id, "a", Received, "2") != Taken {
				w.t.Error("it is not acked")
			}
		}, Active, Counts{Running: 1}},
	}
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a")
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w.t = t
				id := w.create(nil)
				tt.does(w, id)
				w.wants(id, tt.status, tt.counts)
			})
		}
	})
}

// Seven days from the hand-over is the most, however often running comes.
func TestRunningForADevicesLife(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a")
		id := w.create(func(n *New) { n.Timeout = MaxTimeout })
		w.claim(id, false, "a")
		const day = 24 * 3600 * 1000
		for range 7 {
			w.pass(day - 1)
			w.answer(id, "a", Running, "")
		}
		w.wants(id, Active, Counts{Running: 1})
		w.pass(7)
		w.wants(id, TimedOut, Counts{TimedOut: 1})
	})
}

func TestFinalAnswersStand(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a")
		id := w.create(nil)
		w.claim(id, false, "a")
		for i, step := range []struct {
			status Status
			data   string
			want   AnswerOutcome
		}{
			{Succeeded, "1", Taken}, {Succeeded, "1", Taken}, {Succeeded, "1 ", AnswerFinal}, {Succeeded, "", AnswerFinal},
			{Failed, "1", AnswerFinal}, {Received, "", Taken}, {Running, "5", Taken},
		} {
			if got := w.answer(id, "a", step.status, step.data); got != step.want {
				t.Errorf("step %d: outcome %d, want %d", i, got, step.want)
			}
		}
		w.wants(id, Succeeded, Counts{Succeeded: 1})
		if got := w.read(id).Answers[0]; string(got.Data) != "1" {
			t.Errorf("the answer became %s", got.Data)
		}
	})
}

func TestLateAnswers(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a")
		id := w.create(nil)
		w.claim(id, false, "a")
		w.pass(31000)
		for i, step := range []struct {
			status Status
			data   string
			want   AnswerOutcome
		}{
			{Running, "5", Taken}, {Failed, "1", TakenLate}, {Failed, "1", TakenLate}, {Failed, "2", AnswerFinal}, {Succeeded, "1", AnswerFinal}, {Received, "", Taken},
		} {
			if got := w.answer(id, "a", step.status, step.data); got != step.want {
				t.Errorf("step %d: outcome %d, want %d", i, got, step.want)
			}
		}
		w.wants(id, TimedOut, Counts{TimedOut: 1})
		got := w.read(id).Answers[0]
		want := PeerAnswer{Peer: "a", Status: TimedOut, Attempt: 1, SentAt: begin, Late: &LateAnswer{Status: Failed, Data: []byte("1"), AnsweredAt: begin + 31000}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}

// Nobody but whom it was handed to answers, and nobody of another app.
func TestForeignAnswers(t *testing.T) {
	onBoth(t, func(t *testing.T, w *world) {
		w.join("a", "b")
		id := w.create(nil)
		w.claim(id, false, "a")
		for name, a := range map[string]*Answer{
			"a peer that does not have it": {App: "app", ID: id, Peer: "b"},
			"a peer of another app":        {App: "other", ID: id, Peer: "a"},
			"unknown":                      {App: "app", ID: id[:len(id)-1] + "z", Peer: "a"},
			"another bucket":               {App: "app", ID: strings.Replace(id, id[4:7], w.keys.Bucket("app", "x").Tag(), 1), Peer: "a"},
			"no id":                        {App: "app", ID: "", Peer: "a"},
			"no tag":                       {App: "app", ID: "cmd_zzz" + id[7:], Peer: "a"},
			"too long":                     {App: "app", ID: id + "a", Peer: "a"},
			"capitals":                     {App: "app", ID: strings.ToUpper(id), Peer: "a"},
			"a glob":                       {App: "app", ID: id[:8] + strings.Repeat("*", 25), Peer: "a"},
			"a field of the command":       {App: "app", ID: id, Peer: "status"},
		} {
			a.Status = Succeeded
			w.pass(0)
			_ = w.rdb.Set(context.Background(), w.keys.Bucket("app", "x").Due("commands")+":clock", w.now, 0)
			if err := w.store.Answer(context.Background(), []*Answer{a}); err != nil || a.Outcome != AnswerNotFound {
				t.Errorf("%s: outcome %d, error %v", name, a.Outcome, err)
			}
		}
		w.wants(id, Active, Counts{Sent: 1})
		for _, app := range []string{"other", "app"} {
			other := map[string]string{"other": id, "app": id[:len(id)-1] + "z"}[app]
			if _, err := w.store.Read(context.Background(), app, other, ""); !errors.Is(err, ErrNotFound) {
				t.Errorf("read of %s in %s: %v", other, app, err)
			}
			if _, err := w.store.Cancel(context.Background(), app, other); !errors.Is(err, ErrNotFound) {
				t.Errorf("cancel of %s in %s: %v", other, app, err)
			}
			if _, err := w.store.Answers(context.Background(), app, other, "", "", 10); !errors.Is(err, ErrNotFound) {
				t.Errorf("answers of %s in %s: %v", other, app, err)
			}
		}
	})
}

// Each state that an answer can give is one of a peer, and the other way round, but for those
// that Redis alone decides.
func TestAnswersGiveStatesOfPeers(t *testing.T) {
	var given []Status
	for _, s := range OfPeers {
		if s != Sent && s != TimedOut {
			given = append(given, s)
		}
	}
	if fmt.Sprint(given) != fmt.Sprint(protocol.AnswerStatuses) {
		t.Errorf("answers give %v, and peers have %v", protocol.AnswerStatuses, given)
	}
}
