package session

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/registry"
)

// willsOf stands in for the recorder.
type willsOf struct {
	mu      sync.Mutex
	sets    []registry.SetWill
	refuses *protocol.Error // instead of taking one
	answer  *protocol.Error // what its setter is told
	holds   bool            // its setter is told nothing
}

func (w *willsOf) set(s registry.SetWill) *protocol.Error {
	w.mu.Lock()
	refuses, answer, holds := w.refuses, w.answer, w.holds
	if refuses == nil {
		w.sets = append(w.sets, s)
		s.Current.Store(s.Will)
	}
	w.mu.Unlock()
	if refuses == nil && s.Done != nil && !holds {
		go s.Done(answer)
	}
	return refuses
}

// taken are those that were set since the last call.
func (w *willsOf) taken() []registry.SetWill {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.sets
	w.sets = nil
	return taken
}

func (w *willsOf) answers(refuses, answer *protocol.Error, holds bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refuses, w.answer, w.holds = refuses, answer, holds
}

// A will is set with what its credential is, and answered when Redis has it.
func TestWill(t *testing.T) {
	w := newWorld(t)
	grant := w.grant("device-1")
	grant.IssuedAt, grant.PeerMetadata = w.clock.now(), []byte(`{"fw":3}`)
	p := w.connect(grant)
	p.Write(text(`{"type":"will","channel":"devices/a","data":{ "gone": 1.0 },"delayMs":1500,"requestId":"w"}`))
	p.Want(anAck("w"))
	sets := w.wills.taken()
	if len(sets) != 1 {
		t.Fatalf("%d are set", len(sets))
	}
	s, got := sets[0], sets[0].Will
	if s.App != grant.App || s.Peer != "device-1" || s.Connection != p.session.ID() || got.Channel != "devices/a" || string(got.Data) != `{ "gone": 1.0 }` ||
		got.Delay != 1500*time.Millisecond || got.Key != "sk_test" || !got.IssuedAt.Equal(grant.IssuedAt) || string(got.Metadata) != `{"fw":3}` {
		t.Errorf("set is %+v %+v", s, got)
	}
	if p.session.Will().Load() != got {
		t.Error("the session has another")
	}
	w.wills.answers(nil, nil, true)
	p.Write(text(`{"type":"will","channel":null,"requestId":"b"}`))
	p.Want(alive) // the ack waits for Redis
	if sets := w.wills.taken(); len(sets) != 1 || sets[0].Will != nil || p.session.Will().Load() != nil {
		t.Errorf("taken back: %+v", sets)
	} else {
		sets[0].Done(nil)
	}
	p.Want(anAck("b"))

	// Without a requestId success is silent, and errors come.
	w.wills.answers(nil, nil, false)
	p.Write(text(`{"type":"will","channel":"devices/a","data":1}`))
	p.Want(alive)
	w.wills.answers(nil, protocol.Unknownf("Redis does not answer"), false)
	p.Write(text(`{"type":"will","channel":"devices/a","data":2}`))
	p.Want(anError(protocol.BackendError, ""))
	w.wills.answers(protocol.Errorf(protocol.BackendError, "too many"), nil, false)
	p.Write(text(`{"type":"will","channel":"devices/a","data":3,"requestId":"t"}`))
	p.Want(anError(protocol.BackendError, "t"), alive)
	if got := p.session.Will().Load(); string(got.Data) != "2" {
		t.Errorf("after a refusal the will is %s", got.Data)
	}
}

// A refresh brings the will under the new token, or takes it back.
func TestRefreshOfAWill(t *testing.T) {
	w := newWorld(t)
	p := w.connect(w.grant("device-1"))
	p.Write(text(`{"type":"will","channel":"devices/a","data":1,"delayMs":7,"requestId":"w"}`))
	p.Want(anAck("w"))
	w.wills.taken()
	acked := func(unsubscribed string) want {
		return aText(`{"type":"ack","requestId":"f","expiresAt":` + fmt.Sprint(w.clock.in(time.Hour).Unix()) + `,"unsubscribed":[` + unsubscribed + `]}`)
	}
	w.clock.advance(time.Hour)
	p.Write(refresh(w.token("sk_test", "device-1", "devices/*")))
	p.Want(acked(""))
	sets := w.wills.taken()
	if len(sets) != 1 || sets[0].Will.Channel != "devices/a" || string(sets[0].Will.Data) != "1" || sets[0].Will.Delay != 7*time.Millisecond || !sets[0].Will.IssuedAt.Equal(w.clock.now()) {
		t.Errorf("set anew: %+v", sets)
	}
	// While too many wills wait, the former one stays.
	w.wills.answers(protocol.Errorf(protocol.BackendError, "too many"), nil, false)
	p.Write(refresh(w.token("sk_test", "device-1", "devices/a")))
	p.Want(anError(protocol.BackendError, ""), acked(""))
	w.wills.answers(nil, nil, false)

	for token, code := range map[string]protocol.Code{
		w.token("sk_test", "device-1", "fleets/*"): protocol.ChannelNotAuthorized,
		w.token("sk_second", "device-1"):           protocol.ActionNotPermitted,
	} {
		p.Write(refresh(w.token("sk_test", "device-1")))
		p.Want(acked(""))
		p.Write(text(`{"type":"will","channel":"devices/a","data":1,"requestId":"w"}`))
		p.Want(anAck("w"))
		w.wills.taken()
		p.Write(refresh(token))
		p.Want(anError(code, ""), acked(""))
		if sets := w.wills.taken(); len(sets) != 1 || sets[0].Will != nil || p.session.Will().Load() != nil {
			t.Errorf("%s: %+v", code, sets)
		}
	}
	// Without one there is nothing to bring along.
	p.Write(refresh(w.token("sk_test", "device-1")))
	p.Want(acked(""))
	if sets := w.wills.taken(); len(sets) != 0 {
		t.Errorf("%d wills are set", len(sets))
	}
}
