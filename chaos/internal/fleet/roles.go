package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/chaos/internal/stage"
	"fleetwire/clients/go/client"
)

// The channels of a group: what is published, what is published and remembered, and where
// its devices are present.
func events(group int) string { return fmt.Sprintf("fleets/%d/events", group) }
func logOf(group int) string  { return fmt.Sprintf("log/%d", group) }
func meet(group int) string   { return fmt.Sprintf("meet/%d", group) }

func commandsOf(peer string) string { return "devices/" + peer + "/commands" }

// note is the data of a message.
type note struct {
	Writer string `json:"w"`
	N      int    `json:"n"`
	Poison bool   `json:"p,omitempty"` // no ingester takes it
}

func (f *Fleet) route(home int) func() *stage.Node {
	return func() *stage.Node { return f.stage.Route(home) }
}

// hear has a listener's books know each message.
func hear(l *books.Listener) func(client.Message) {
	return func(m client.Message) {
		n := read(m)
		l.Heard(time.Now(), n.Writer, m.Channel, n.N, m.Position)
	}
}

func read(m client.Message) note {
	n := note{N: -1}
	_ = json.Unmarshal(m.Data, &n) // else it is one that nobody sent
	if n.Writer != m.From {
		n.Writer = m.From + " as " + n.Writer
	}
	return n
}

// listener hears what a group publishes, by name.
func (f *Fleet) listener(ctx context.Context, group, i int) error {
	peer := fmt.Sprintf("listener-%d-%d", group, i)
	plain := f.books.Listener(peer+" by name", false, func(c string) bool { return c == events(group) })
	remembers := f.books.Listener(peer+" with history", true, func(c string) bool { return c == logOf(group) })
	d, err := f.device(mainApp, peer, f.route(group+i), func(g client.Gap) {
		remembers.Missed(books.Gap{Channel: g.Channel, After: g.After, Until: g.Until, At: time.Now()})
	}, nil)
	if err != nil {
		return err
	}
	f.add(d)
	if err := d.subscribe(ctx, events(group), plain); err != nil {
		return err
	}
	// Last: who asks for none of what is remembered is not told of gaps.
	return d.subscribe(ctx, logOf(group), remembers, client.Last(1))
}

// wild hears what all groups publish, by a wildcard, on a node.
func (f *Fleet) wild(ctx context.Context, node int) error {
	peer := fmt.Sprintf("wild-%d", node)
	l := f.books.Listener(peer+" by wildcard", false, func(c string) bool { return strings.HasPrefix(c, "fleets/") })
	d, err := f.device(mainApp, peer, f.route(node), nil, nil)
	if err != nil {
		return err
	}
	f.add(d)
	return d.subscribe(ctx, "fleets/*/events", l)
}

func (d *device) subscribe(ctx context.Context, name string, l *books.Listener, opts ...client.SubscribeOption) error {
	return d.listen(ctx, &subscription{name: name, books: l, again: func(ctx context.Context) error {
		return d.client.Subscribe(ctx, name, hear(l), opts...)
	}})
}

// writer is a device that publishes, is present, and does commands. The first of a group
// watches who else is present.
func (f *Fleet) writer(ctx context.Context, group, i int) error {
	peer := fmt.Sprintf("device-%d-%d", group, i)
	var w *watcher
	var opts []client.SubscribeOption
	var changed func(client.Change)
	if i == 0 {
		w = &watcher{channel: meet(group), there: map[string]bool{}}
		opts = append(opts, client.WithPresence(w.take))
		changed = w.state
	}
	d, err := f.device(mainApp, peer, f.route(group+i), nil, changed)
	if err != nil {
		return err
	}
	f.add(d)
	if w != nil {
		w.device = d
		f.mu.Lock()
		f.watchers = append(f.watchers, w)
		f.mu.Unlock()
	}
	if err := d.client.Subscribe(ctx, meet(group), func(client.Message) {}, opts...); err != nil {
		return err
	}
	return d.client.HandleCommands(ctx, commandsOf(peer), f.do)
}

// do does a command: its answer is of the device's own making.
func (f *Fleet) do(_ context.Context, c client.Command) (any, error) {
	var order struct {
		N int `json:"n"`
	}
	if err := json.Unmarshal(c.Data, &order); err != nil {
		return nil, err
	}
	answer := fmt.Sprintf("%s did %d", c.Channel, order.N)
	f.books.Ran(order.N, time.Now(), answer)
	return answer, nil
}

// watcher knows who is in a channel, by what it is shown.
type watcher struct {
	channel string
	device  *device

	mu    sync.Mutex
	there map[string]bool
}

func (w *watcher) state(c client.Change) {
	if c.State != client.Connected {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.there) // a snapshot follows
}

func (w *watcher) take(p client.Presence) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range p.Joined {
		w.there[m.Peer] = true
	}
	for _, m := range p.Left {
		delete(w.there, m.Peer)
	}
}
