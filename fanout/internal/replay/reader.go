package replay

import (
	"context"
	"log/slog"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/batch"
	"fleetwire/pkg/history"
)

const (
	// tripTime bounds a trip to Redis.
	tripTime = 1500 * time.Millisecond
	// tryAgain is the pause before a read that Redis did not answer is tried again.
	tryAgain = 250 * time.Millisecond
	// maxReads bounds the reads of one trip, so that Redis is never busy with one for
	// long, and a node never holds many of the answers.
	maxReads = 256
	// maxPage bounds a page, but for one message that is larger.
	maxPage = 64 << 10
)

// Store keeps what is remembered: history.Store. Each read has its own error.
type Store interface {
	Read(ctx context.Context, reads []*history.Read) error
}

// Options set a Reader up.
type Options struct {
	Store   Store
	Process uint64 // the publisher of this process (envelope.ID)
	Log     *slog.Logger
}

// Request is what a connection wants to read of a channel: its position, and with Since
// or Last a page. A channel that remembers nothing has an empty position.
type Request struct {
	Connection uint64
	App        *apps.App
	Channel    string
	Since      *protocol.Position
	Last       int
	// Done takes what was read, on Run's goroutine. It must not block. With held, the
	// page lives on until Release; the connection gets no other until then.
	Done func(*Page) (held bool)
}

// Reader reads for the connections of one node, once Run runs. It is safe for concurrent
// use.
type Reader struct {
	opt    Options
	events *batch.Events // for Run's goroutine

	// Owned by Run's goroutine.
	due   []*Request
	later []*Request
	lines map[uint64]*line // by connection, of those that read, or hold a page
}

// line is a connection's only page, and the requests that wait for the next one.
type line struct{ waiting []*Request }

// NewReader returns a Reader.
func NewReader(opt Options) *Reader {
	return &Reader{opt: opt, events: batch.NewEvents(), lines: map[uint64]*line{}}
}

// Read reads for a connection. It never blocks.
func (r *Reader) Read(q *Request) { r.events.Add(func() { r.ask(q) }) }

// Again tries a read again, after a pause, that Redis did not answer.
func (r *Reader) Again(q *Request) { r.events.Add(func() { r.later = append(r.later, q) }) }

// Release says that a connection's page is written, or was dropped. then is called on
// Run's goroutine.
func (r *Reader) Release(connection uint64, then func()) {
	r.events.Add(func() {
		r.release(connection)
		then()
	})
}

// Run reads until ctx ends.
func (r *Reader) Run(ctx context.Context) {
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.events.Signal:
		case <-again:
			again = nil
			for _, q := range batch.Take(&r.later, len(r.later)) {
				r.ask(q)
			}
		}
		for r.events.Run() || len(r.due) > 0 {
			if ctx.Err() != nil {
				return
			}
			r.trip(ctx)
		}
		if again == nil && len(r.later) > 0 {
			again = time.After(tryAgain)
		}
	}
}

// ask has the request ride the next trip, unless its connection has a page.
func (r *Reader) ask(q *Request) {
	if q.wantsPage() {
		if l := r.lines[q.Connection]; l != nil {
			l.waiting = append(l.waiting, q)
			return
		}
		r.lines[q.Connection] = &line{}
	}
	r.due = append(r.due, q)
}

func (q *Request) wantsPage() bool { return q.Since != nil || q.Last > 0 }

// release says that a connection's page is written. The next page is for the request that
// has waited longest.
func (r *Reader) release(connection uint64) {
	l := r.lines[connection]
	if len(l.waiting) == 0 {
		delete(r.lines, connection)
		return
	}
	r.due = append(r.due, batch.Take(&l.waiting, 1)[0])
}

// pageKey is what requests have to have in common to share a page.
type pageKey struct {
	app     *apps.App
	channel string
	since   protocol.Position
	last    int
}

func (q *Request) key() pageKey {
	k := pageKey{app: q.App, channel: q.Channel, last: q.Last}
	if q.Since != nil {
		k.since = *q.Since
	}
	return k
}

// trip makes one trip to Redis.
func (r *Reader) trip(ctx context.Context) {
	due := batch.Take(&r.due, maxReads)
	if len(due) == 0 {
		return
	}
	pages := make(map[pageKey]*Page, len(due))
	reads := make([]*history.Read, 0, len(due))
	for _, q := range due {
		if key := q.key(); pages[key] == nil {
			p := &Page{process: r.opt.Process}
			p.App, p.Channel, p.Since, p.Last, p.MaxBytes = q.App, q.Channel, q.Since, q.Last, maxPage
			pages[key] = p
			if q.App.HistoryOf(q.Channel) != nil {
				reads = append(reads, &p.Read)
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, tripTime)
	defer cancel()
	err := r.opt.Store.Read(ctx, reads)
	if err != nil {
		r.opt.Log.Warn("the node could not read what channels remember", "channels", len(reads), "err", err)
	}
	for i, q := range due {
		if held := q.Done(pages[q.key()]); !held && q.wantsPage() {
			r.release(q.Connection)
		}
		due[i] = nil
	}
}
