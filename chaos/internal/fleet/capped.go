package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// Capped are devices of an app whose caps are below what they want.
type Capped struct {
	f       *Fleet
	app     string
	cap     *books.Cap
	end     context.CancelFunc
	all     sync.WaitGroup
	devices []*device
	stop    sync.Once
}

// StartCapped starts those of a step. More devices connect than the plan lets in, and more
// is published than it allows.
func (f *Fleet) StartCapped(step int) (*Capped, error) {
	c := &Capped{f: f, app: capApp(step), cap: f.books.Cap(capApp(step), capMessages, capConnections)}
	ctx, end := context.WithCancel(f.ctx)
	c.end = end
	for i := range capDevices {
		open := false
		d, err := f.device(c.app, fmt.Sprintf("capped-%d", i), f.route(i), nil, func(change client.Change) {
			switch change.State {
			case client.Connected:
				open = true
				c.cap.Opened()
			case client.Waiting, client.Stopped:
				if open {
					open = false
					c.cap.Ended()
				}
			}
		})
		if err != nil {
			return c, err
		}
		c.devices = append(c.devices, d)
		c.all.Go(func() { c.publish(ctx, d) })
	}
	return c, nil
}

func (c *Capped) publish(ctx context.Context, d *device) {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		if _, _, live := d.now(); !live {
			continue
		}
		ctx, cancel := context.WithTimeout(c.f.ctx, answerIn)
		err := d.client.Publish(ctx, "x", 1)
		cancel()
		c.cap.Sent(outcome(err), errors.Is(err, &client.Error{Code: protocol.OverMessageQuota}))
	}
}

// Stop ends the devices.
func (c *Capped) Stop() {
	c.stop.Do(func() {
		c.end()
		c.all.Wait()
		var closing sync.WaitGroup
		for _, d := range c.devices {
			closing.Go(d.leave)
		}
		closing.Wait()
	})
}

// Judge says in which way the caps were passed, and whether the count is what was counted.
func (c *Capped) Judge(lost bool) []books.Finding {
	now := time.Now()
	used, err := c.used()
	if err != nil {
		return []books.Finding{{Kind: books.Underrun, At: now, Text: fmt.Sprintf("GET /v1/usage of %s: %v", c.app, err)}}
	}
	return c.cap.Judge(now, used, lost)
}

func (c *Capped) used() (int, error) {
	rest := c.f.backend(c.app)
	defer rest.HTTPClient.CloseIdleConnections()
	return used(c.f.ctx, rest)
}

// Said is what the app used, for a reader.
func (c *Capped) Said() string { return c.cap.Said() }
