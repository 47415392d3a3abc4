package redisconn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

// Of says which client the Health is of. On a Redis Cluster it then goes by the masters, of
// which each has a Health of its own: while one does not work, the others serve. The client
// sends a master that does not answer nothing, so that no caller who needs others, too, waits
// for it. It must come before the first use of the Health, and of the client.
func (h *Health) Of(rdb redis.UniversalClient) {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return
	}
	h.masters = &masters{}
	cluster.OnNewNode(func(node *redis.Client) { node.AddHook(gate{h.masters, node.Options().Addr}) })
}

// masters are those of a Redis Cluster, as they are known.
type masters struct {
	known atomic.Pointer[topologyHealth]
}

type topologyHealth struct {
	all    map[string]*Health // by address
	bySlot [rediskeys.Slots]*Health
}

func (m *masters) each(do func(*Health)) {
	if t := m.known.Load(); t != nil {
		for _, h := range t.all {
			do(h)
		}
	}
}

// Master returns the Health of one master of the cluster, which has to Run, and SetMasters
// to be told of it.
func (h *Health) Master(addr string) *Health {
	master := NewHealth(h.log)
	master.master = addr
	return master
}

// SetMasters says which masters there are, by their addresses, and which of them has a slot
// (nil: none has).
func (h *Health) SetMasters(all map[string]*Health, of func(slot int) *Health) {
	t := &topologyHealth{all: maps.Clone(all)}
	for slot := range t.bySlot {
		t.bySlot[slot] = of(slot)
	}
	h.masters.known.Store(t)
}

// UpAt says whether the Redis that has the key, or any name with a slot, worked last time.
func (h *Health) UpAt(key string) bool {
	if h.masters == nil {
		return h.Up()
	}
	t := h.masters.known.Load()
	if t == nil {
		return h.Up()
	}
	master := t.bySlot[rediskeys.Slot(key)]
	return master != nil && master.Up()
}

// AllUp says whether every Redis worked last time: all masters of a cluster.
func (h *Health) AllUp() bool {
	all := !h.down.Load()
	if h.masters != nil {
		h.masters.each(func(master *Health) { all = all && master.Up() })
	}
	return all
}

// anyUp says whether a master works.
func (m *masters) anyUp() (up, known bool) {
	m.each(func(master *Health) { up, known = up || master.Up(), true })
	return up, known
}

// troubles is why masters do not work, "" if all do.
func (m *masters) troubles() string {
	t := m.known.Load()
	if t == nil {
		return ""
	}
	var all []string
	for _, addr := range slices.Sorted(maps.Keys(t.all)) {
		if why := t.all[addr].Trouble(); why != "" {
			all = append(all, why)
		}
	}
	return strings.Join(all, "; ")
}

// ObserveAt is Observe of a call that needed the Redis that has the key.
func (h *Health) ObserveAt(key string, err error) {
	if h.masters != nil {
		if t := h.masters.known.Load(); t != nil {
			if master := t.bySlot[rediskeys.Slot(key)]; master != nil {
				master.Observe(err)
			}
			return
		}
	}
	h.Observe(err)
}

// awayError says that a master was sent nothing, as it does not answer.
type awayError struct{ why string }

func (e *awayError) Error() string { return e.why }

// Answered says that the Redis has answered something: it may be sent more, though it may not
// work yet.
func (h *Health) Answered() { h.silent.Store(false) }

// isAway says whether err tells only what Health knew.
func isAway(err error) bool {
	_, is := errors.AsType[*awayError](err)
	return is
}

// gate is a hook of the client of a cluster's node. It lets nothing through to a master that
// does not answer, so that callers hear of it at once. The first call that waits for as long as
// a probe may tells the Health, so that no caller waits for the master twice.
type gate struct {
	masters *masters
	addr    string
}

func (g gate) DialHook(next redis.DialHook) redis.DialHook { return next }

func (g gate) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if err := g.shut(); err != nil && cmd.Name() != "cluster" { // which asks who is master now
			cmd.SetErr(err)
			return err
		}
		sent := time.Now()
		err := next(ctx, cmd)
		g.observe(sent, err)
		return err
	}
}

func (g gate) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if err := g.shut(); err != nil && !goesAlone[cmds[0].Name()] {
			failAll(cmds, err)
			return err
		}
		sent := time.Now()
		err := next(ctx, cmds)
		g.observe(sent, err)
		return err
	}
}

// shut is why nothing is sent; nil: all is.
func (g gate) shut() error {
	if master := g.master(); master != nil && master.silent.Load() {
		return &awayError{master.Trouble()}
	}
	return nil
}

// observe tells the master's Health of a call that ran into a timeout. One that had less
// patience than a probe proves nothing.
func (g gate) observe(sent time.Time, err error) {
	timeout, ok := errors.AsType[net.Error](err)
	if !ok || !timeout.Timeout() || time.Since(sent) < probeTimeout {
		return
	}
	if master := g.master(); master != nil {
		master.Observe(err)
	}
}

// master is the Health of the node; nil: it is not known as a master.
func (g gate) master() *Health {
	if t := g.masters.known.Load(); t != nil {
		return t.all[g.addr]
	}
	return nil
}

// of adds to an error which master it is about.
func (h *Health) of(err error) error {
	if h.master == "" {
		return err
	}
	return fmt.Errorf("master %s: %w", h.master, err)
}
