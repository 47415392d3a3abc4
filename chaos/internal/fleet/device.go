package fleet

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/chaos/internal/stage"
	"fleetwire/clients/go/client"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// device is one peer and its client. Its connections go to its home, or to another node
// if that is down.
type device struct {
	f       *Fleet
	peer    string
	route   func() *stage.Node
	gate    *gate // or nil
	poisons bool  // some of its messages no ingester takes
	client  *client.Client
	changed func(client.Change) // or nil

	mu          sync.Mutex
	connections int // so many it has had
	dialed      int // the node of the newest
	node        int // of the connection that is
	up, live    bool
	refused     bool // a subscription of this connection was
	closing     bool
	listeners   []*subscription
}

// subscription is one that the books know.
type subscription struct {
	name  string
	books *books.Listener
	ready bool
	again func(context.Context) error
}

func (f *Fleet) device(app, peer string, route func() *stage.Node, onGap func(client.Gap), changed func(client.Change)) (*device, error) {
	return (&device{f: f, peer: peer, route: route, changed: changed}).begin(app, onGap)
}

// begin has the device connect.
func (d *device) begin(app string, onGap func(client.Gap)) (*device, error) {
	f, peer := d.f, d.peer
	key := f.key(app)
	var err error
	d.client, err = client.New(client.Options{
		URL: "http://fleetwire.invalid",
		Token: func(context.Context) (string, error) {
			token, _, err := auth.Mint(key, auth.TokenRequest{Peer: peer, TTL: time.Hour}, time.Now())
			return token, err
		},
		DialContext: d.dial, OnState: d.state, OnGap: onGap, OnError: d.trouble, FramesPerSecond: 10_000,
	})
	return d, err
}

func (f *Fleet) key(app string) *apps.Key {
	for _, a := range f.apps.Apps() {
		if a.ID == app {
			return a.Keys[0]
		}
	}
	panic("no app is called " + app)
}

// backend is a REST client of an app, which goes to any node that is up.
func (f *Fleet) backend(app string) *client.REST { return f.backendBy(app, f.stage.DialAny) }

func (f *Fleet) backendBy(app string, dial dialer) *client.REST {
	key := f.key(app)
	return &client.REST{BaseURL: "http://fleetwire.invalid", SecretKey: key.ID + ":" + key.Secret, HTTPClient: &http.Client{
		Timeout: 12 * time.Second, Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Second},
	}}
}

func (d *device) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	n := d.route()
	d.mu.Lock()
	d.dialed = n.Index
	d.mu.Unlock()
	dial := dialer((&net.Dialer{}).DialContext)
	if d.gate != nil {
		dial = d.gate.through(dial)
	}
	return dial(ctx, network, n.Address)
}

func (d *device) state(c client.Change) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	switch c.State {
	case client.Connected:
		d.connections++
		d.up, d.refused, d.node = true, false, d.dialed
	case client.Live:
		d.live = true
		for _, s := range d.listeners {
			if s.ready && !d.refused {
				s.books.Live(now, d.node)
			}
		}
	case client.Waiting, client.Stopped:
		if d.up && !d.closing {
			d.f.books.Closed(now, d.peer, d.node, fmt.Sprint(c.Err))
		}
		d.up, d.live = false, false
		for _, s := range d.listeners {
			s.books.Down(now)
		}
	}
	if d.changed != nil {
		d.changed(c)
	}
}

// trouble hears that a subscription was not renewed. The books count on it no more until
// it is.
func (d *device) trouble(error) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused = true
	for _, s := range d.listeners {
		s.books.Down(now)
		if s.again != nil && s.ready {
			s.ready = false
			go func() { _ = d.ready(d.f.ctx, s) }()
		}
	}
}

// listen subscribes, and has the books know.
func (d *device) listen(ctx context.Context, s *subscription) error {
	d.mu.Lock()
	d.listeners = append(d.listeners, s)
	d.mu.Unlock()
	return d.ready(ctx, s)
}

func (d *device) ready(ctx context.Context, s *subscription) error {
	if err := s.again(ctx); err != nil {
		return fmt.Errorf("%s: %w", d.peer, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.ready = true; d.live {
		s.books.Live(time.Now(), d.node)
	}
	return nil
}

// now is which connection the device has, its node, and whether it has one.
func (d *device) now() (connection, node int, up bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.connections, d.node, d.live
}

// leave closes the connection in order.
func (d *device) leave() {
	d.mu.Lock()
	d.closing = true
	d.mu.Unlock()
	d.client.Close()
	<-d.client.Done()
	d.f.mu.Lock()
	defer d.f.mu.Unlock()
	if d.f.devices[d.peer] == d {
		delete(d.f.devices, d.peer)
	}
}

// add has the fleet know a device.
func (f *Fleet) add(d *device) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.devices[d.peer] = d
}
