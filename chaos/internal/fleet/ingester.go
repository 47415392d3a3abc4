package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/clients/go/client"
)

const (
	// ingestGroup gets all that devices and backends publish.
	ingestGroup   = "ingest"
	ingestDeliver = 5 // its maxDeliver
	// Every ingester refuses each poisonous message, and one in refuseOneIn of the others.
	poisonEvery = 100
	poisonFirst = 3
	refuseOneIn = 500
	// framesName begins the names of ingesters that are no devices: the books of presence do not have them.
	framesName = "ingester-frames"
	// tryAgain is the pause of an ingester that the service does not answer.
	tryAgain = 200 * time.Millisecond
)

// poisonous says whether the nth message of a stream is.
func poisonous(n int) bool { return n%poisonEvery == poisonFirst }

// ingester takes part in the group ingest, in one of several ways. It lives until it is killed, and
// may be started again.
type ingester struct {
	f    *Fleet
	peer string
	home int
	way  func(*ingester, context.Context)

	gate   *gate                  // of this life
	device atomic.Pointer[device] // of the client library, or nil
	end    context.CancelFunc
	over   sync.WaitGroup
}

// ingesters starts those of the fleet, as many in each way.
func (f *Fleet) startIngesters() {
	ways := []func(*ingester, context.Context){(*ingester).byClient, (*ingester).byFrames, (*ingester).byREST}
	names := []string{"ingester-client", framesName, "ingester-rest"}
	for n := range f.Size.Ingesters {
		for w := range ways {
			i := &ingester{f: f, peer: fmt.Sprintf("%s-%d", names[w], n), home: n + w, way: ways[w]}
			f.ingesters = append(f.ingesters, i)
			i.start()
		}
	}
}

func (i *ingester) start() {
	ctx, end := context.WithCancel(i.f.ctx)
	i.gate, i.end = newGate(), end
	i.over.Go(func() { i.way(i, ctx) })
}

// kill ends a life at once.
func (i *ingester) kill() {
	if d := i.device.Load(); d != nil {
		d.mu.Lock()
		d.closing = true // the books do not ask why its connection ended
		d.mu.Unlock()
	}
	i.gate.kill()
	i.end()
	i.over.Wait()
}

// got is a message that an ingester got.
type got struct {
	note
	ackID   string
	handed  *books.Handed
	refused bool
}

// take notes a message in the books, and says whether the ingester refuses it.
func (i *ingester) take(data []byte, from, channel, ackID string, attempt int) got {
	m := got{note: read(client.Message{Data: data, From: from}), ackID: ackID}
	m.handed = i.f.group.Handed(time.Now(), m.Writer, channel, m.N, attempt)
	m.refused = m.Poison || rand.IntN(refuseOneIn) == 0
	return m
}

// byClient takes part with the client library. Its handler fails on all events of a call.
func (i *ingester) byClient(ctx context.Context) {
	d, err := (&device{f: i.f, peer: i.peer, route: i.f.route(i.home), gate: i.gate}).begin(mainApp, nil)
	if err != nil {
		return // the options are the same for all
	}
	i.f.add(d)
	i.device.Store(d)
	defer d.leave()
	for ctx.Err() == nil {
		_ = d.client.Group(ctx, ingestGroup, func(_ context.Context, events []client.Event) error {
			var failed error
			for _, e := range events {
				if !i.gate.pass() {
					return errKilled
				}
				if i.take(e.Data, e.From, e.Channel, "", e.Attempt).refused {
					failed = errors.New("an event is refused")
				}
			}
			i.gate.pass()
			return failed
		}, client.WithMaxInFlight(i.f.Size.InFlight))
		pause(ctx, tryAgain)
	}
}

// byREST pulls and acknowledges with requests.
func (i *ingester) byREST(ctx context.Context) {
	rest := i.f.backendBy(mainApp, i.gate.through(i.f.stage.DialAny))
	defer rest.HTTPClient.CloseIdleConnections()
	for ctx.Err() == nil {
		messages, err := pull(ctx, rest, ingestGroup, i.peer, i.f.Size.InFlight)
		if err != nil {
			pause(ctx, tryAgain)
			continue
		}
		all := make([]got, len(messages))
		for n, m := range messages {
			all[n] = i.take(m.Data, m.From, m.Channel, m.AckID, m.Attempt)
		}
		if i.gate.pass() && len(all) > 0 {
			i.settle(ctx, rest, all)
		}
	}
}

// settle tells what became of messages, until the service takes it.
func (i *ingester) settle(ctx context.Context, rest *client.REST, all []got) {
	for first := true; ctx.Err() == nil; first = false {
		results, err := acknowledge(ctx, rest, ingestGroup, all)
		if err != nil {
			pause(ctx, tryAgain)
			continue
		}
		for _, m := range all {
			i.noted(m, results[m.ackID], first)
		}
		return
	}
}

// noted notes what the service said of an acknowledgement. Repeated, a lease that is lost may have
// been taken by the first.
func (i *ingester) noted(m got, held, first bool) {
	switch {
	case m.refused && held:
		i.f.group.Settled(m.handed, time.Now(), books.Nacked)
	case held:
		i.f.group.Settled(m.handed, time.Now(), books.Held)
	case first:
		i.f.group.Settled(m.handed, time.Now(), books.Lapsed)
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// delivery is a message of a pull.
type delivery struct {
	AckID, Channel, From string
	Data                 json.RawMessage
	Attempt              int
}

// pull gets messages of a group, and waits a second for some.
func pull(ctx context.Context, rest *client.REST, group, consumer string, most int) ([]delivery, error) {
	var answer struct{ Messages []delivery }
	err := call(ctx, rest, "POST", "/groups/"+group+"/pull", map[string]any{"max": min(most, 500), "maxBytes": 524288, "waitMs": 1000, "consumer": consumer}, &answer)
	return answer.Messages, err
}

// settling is what a request or a frame says of messages.
func settling(all []got) map[string]any {
	var acks []string
	var nacks []map[string]any
	for _, m := range all {
		if m.refused {
			nacks = append(nacks, map[string]any{"ackId": m.ackID, "delayMs": rand.IntN(300)})
		} else {
			acks = append(acks, m.ackID)
		}
	}
	said := map[string]any{}
	if len(acks) > 0 {
		said["ackIds"] = acks
	}
	if len(nacks) > 0 {
		said["nack"] = nacks
	}
	return said
}

// acknowledge acknowledges messages, or refuses them, and returns which leases were held.
func acknowledge(ctx context.Context, rest *client.REST, group string, all []got) (map[string]bool, error) {
	var answer struct {
		Results []struct{ AckID, Result string }
	}
	err := call(ctx, rest, "POST", "/groups/"+group+"/ack", settling(all), &answer)
	held := map[string]bool{}
	for _, r := range answer.Results {
		held[r.AckID] = r.Result == "ok"
	}
	return held, err
}
