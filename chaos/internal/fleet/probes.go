package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"fleetwire/chaos/internal/stage"
	"fleetwire/clients/go/client"
)

const probeChannel = "probe"

// probes find out whether each node delivers to each: on each node one device sends and one
// listens.
type probes struct {
	f                  *Fleet
	senders, listeners []*device

	mu     sync.Mutex
	next   int
	rounds map[int]*round
}

// round is one message from each node.
type round struct {
	nodes map[int]bool
	heard map[[2]int]bool // from, to
	acked map[int]bool
	done  chan struct{}
	at    time.Time
}

type probe struct {
	Node  int `json:"node"`
	Round int `json:"round"`
}

func startProbes(ctx context.Context, f *Fleet) (*probes, error) {
	p := &probes{f: f, rounds: map[int]*round{}}
	for i, n := range f.stage.Nodes {
		pinned := func() *stage.Node { return n }
		sender, err := f.device(mainApp, fmt.Sprintf("probe-%d", i), pinned, nil, nil)
		if err != nil {
			return p, err
		}
		p.senders = append(p.senders, sender)
		listener, err := f.device(mainApp, fmt.Sprintf("probed-%d", i), pinned, nil, nil)
		if err != nil {
			return p, err
		}
		p.listeners = append(p.listeners, listener)
		if err := listener.client.Subscribe(ctx, probeChannel, func(m client.Message) { p.heard(i, m) }); err != nil {
			return p, err
		}
		f.add(sender)
		f.add(listener)
	}
	return p, nil
}

func (p *probes) stop() {
	for _, d := range append(p.senders, p.listeners...) {
		d.leave()
	}
}

func (p *probes) heard(to int, m client.Message) {
	var from probe
	if json.Unmarshal(m.Data, &from) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.rounds[from.Round]; r != nil {
		r.heard[[2]int{from.Node, to}] = true
		r.finish()
	}
}

// finish ends the round when all have heard all. p.mu is held.
func (r *round) finish() {
	for from := range r.nodes {
		if !r.acked[from] {
			return
		}
		for to := range r.nodes {
			if !r.heard[[2]int{from, to}] {
				return
			}
		}
	}
	select {
	case <-r.done:
	default:
		r.at = time.Now()
		close(r.done)
	}
}

// begin sends a round from all nodes but one; -1: from all. nil: not all are connected.
func (p *probes) begin(ctx context.Context, but int) *round {
	r := &round{nodes: map[int]bool{}, heard: map[[2]int]bool{}, acked: map[int]bool{}, done: make(chan struct{})}
	for i := range p.senders {
		if i == but {
			continue
		}
		_, _, sends := p.senders[i].now()
		_, _, hears := p.listeners[i].now()
		if !sends || !hears {
			return nil
		}
		r.nodes[i] = true
	}
	p.mu.Lock()
	p.next++
	number := p.next
	p.rounds[number] = r
	p.mu.Unlock()
	for i := range r.nodes {
		go func() {
			ctx, cancel := context.WithTimeout(ctx, answerIn)
			defer cancel()
			if p.senders[i].client.Publish(ctx, probeChannel, probe{i, number}) != nil {
				return
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			r.acked[i] = true
			r.finish()
		}()
	}
	return r
}

// AwaitLive sends rounds until one is whole, and returns when it was. The node but is left
// out; -1: none is.
func (f *Fleet) AwaitLive(but int, patience time.Duration) (time.Time, error) {
	ctx, cancel := context.WithTimeout(f.ctx, patience)
	defer cancel()
	whole := make(chan time.Time, 1)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if r := f.probes.begin(f.ctx, but); r != nil {
			go func() {
				select {
				case <-r.done:
					select {
					case whole <- r.at:
					default:
					}
				case <-ctx.Done():
				}
			}()
		}
		select {
		case at := <-whole:
			return at, nil
		case <-ctx.Done():
			return time.Now(), fmt.Errorf("not all nodes deliver to each other after %v", patience)
		case <-again.C:
		}
	}
}
