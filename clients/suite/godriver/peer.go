package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// peer is one client of the suite.
type peer struct {
	*client.Client
	name  string
	write func(object)

	mu       sync.Mutex
	released chan struct{}                 // closed by release
	groups   map[string]context.CancelFunc // that it takes part in
	ingests  sync.WaitGroup
}

func (p *peer) tell(kind string, fields object) {
	fields["event"], fields["client"] = kind, p.name
	p.write(fields)
}

// connect makes a client, and does not wait for its connection.
func (d *driver) connect(r *request) error {
	p := &peer{name: r.Client, write: d.write, released: make(chan struct{}), groups: map[string]context.CancelFunc{}}
	token := client.StaticToken(r.Token)
	if r.TokenServer != "" {
		token = func(ctx context.Context) (string, error) { return fetchToken(ctx, r.TokenServer) }
	}
	c, err := client.New(client.Options{
		URL: r.URL, Token: token, OnState: p.state,
		OnDirect: func(m client.Message) { p.tell("direct", message(m)) },
		OnError:  func(err error) { p.tell("error", object{"code": codeOf(err)}) },
		OnGap: func(g client.Gap) {
			p.tell("gap", object{"channel": g.Channel, "after": position(g.After), "until": position(g.Until)})
		},
	})
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.Client = c
	p.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.peers[r.Client] = p
	return nil
}

func fetchToken(ctx context.Context, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var answer struct{ Token string }
	return answer.Token, json.NewDecoder(response.Body).Decode(&answer)
}

func (p *peer) state(change client.Change) {
	code := client.CloseCodeOf(change.Err)
	if code == 0 {
		code = protocol.CloseCode(1006)
	}
	switch change.State {
	case client.Connected:
		fields := object{"peer": change.Welcome.PeerID}
		if !change.Welcome.ExpiresAt.IsZero() {
			fields["expiresAt"] = change.Welcome.ExpiresAt.Unix()
		}
		p.tell("connected", fields)
	case client.Live:
		p.tell("live", object{})
	case client.GoingAway:
		p.tell("going_away", object{"retryAfterMs": change.RetryIn.Milliseconds()})
	case client.Waiting:
		p.tell("disconnected", object{"code": code, "retryInMs": change.RetryIn.Milliseconds()})
	case client.Stopped:
		p.tell("stopped", object{"code": code})
	}
}

// close ends what the client takes part in, and the client.
func (p *peer) close() {
	p.mu.Lock()
	for _, leave := range p.groups {
		leave()
	}
	p.mu.Unlock()
	p.ingests.Wait()
	p.Close()
}

// message is a message as an event has it.
func message(m client.Message) object {
	fields := object{"channel": m.Channel, "from": m.From, "data": m.Data, "replayed": m.Replayed}
	if m.SenderMetadata != nil {
		fields["metadata"] = m.SenderMetadata
	}
	if m.Position.Offset > 0 {
		fields["position"] = position(m.Position)
	}
	return fields
}

var peerActs = map[string]func(context.Context, *peer, *request) (object, error){
	"close": func(_ context.Context, p *peer, _ *request) (object, error) {
		p.close()
		return nil, nil
	},
	"subscribe": func(ctx context.Context, p *peer, r *request) (object, error) {
		return nil, p.Subscribe(ctx, r.Channel, func(m client.Message) { p.tell("message", message(m)) }, p.options(r)...)
	},
	"unsubscribe": func(ctx context.Context, p *peer, r *request) (object, error) {
		return nil, p.Unsubscribe(ctx, r.Channel)
	},
	"publish": func(ctx context.Context, p *peer, r *request) (object, error) {
		done, err := p.PublishMessage(ctx, client.Outgoing{Channel: r.Channel, Data: r.Data, IdempotencyKey: r.IdempotencyKey, If: r.If})
		return published(done), err
	},
	"send":  func(ctx context.Context, p *peer, r *request) (object, error) { return nil, p.Send(ctx, r.To, r.Data) },
	"group": func(ctx context.Context, p *peer, r *request) (object, error) { return nil, p.group(ctx, r) },
	"leave_group": func(_ context.Context, p *peer, r *request) (object, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.groups[r.Group]()
		return nil, nil
	},
	"set_will": func(ctx context.Context, p *peer, r *request) (object, error) {
		return nil, p.SetWill(ctx, r.Channel, r.Data, time.Duration(r.DelayMs)*time.Millisecond)
	},
	"clear_will": func(ctx context.Context, p *peer, _ *request) (object, error) { return nil, p.ClearWill(ctx) },
	"handle_commands": func(ctx context.Context, p *peer, r *request) (object, error) {
		return nil, p.HandleCommands(ctx, r.Channel, func(ctx context.Context, c client.Command) (any, error) { return p.obey(ctx, c, r.Mode) }, p.options(r)...)
	},
	"release": func(_ context.Context, p *peer, _ *request) (object, error) {
		close(p.released)
		return nil, nil
	},
}

func (p *peer) options(r *request) []client.SubscribeOption {
	var options []client.SubscribeOption
	if r.Presence {
		options = append(options, client.WithPresence(func(change client.Presence) {
			p.tell("presence", object{"channel": change.Channel, "joined": members(change.Joined), "left": members(change.Left)})
		}))
	}
	if r.Metadata {
		options = append(options, client.WithSenderMetadata())
	}
	if r.Last > 0 {
		options = append(options, client.Last(r.Last))
	}
	if r.Since != nil {
		options = append(options, client.Since(*r.Since))
	}
	if r.Confirm {
		options = append(options, client.WithConfirm())
	}
	return options
}

func members(all []client.Member) []object {
	list := []object{}
	for _, m := range all {
		entry := object{"peer": m.Peer}
		if m.Metadata != nil {
			entry["metadata"] = m.Metadata
		}
		list = append(list, entry)
	}
	return list
}

// obey does a command in the way that the mode says.
func (p *peer) obey(ctx context.Context, c client.Command, mode string) (any, error) {
	p.tell("command", object{"id": c.ID, "channel": c.Channel, "from": c.From, "data": c.Data, "attempt": c.Attempt})
	switch mode {
	case "progress":
		if err := c.Progress(ctx, object{"percent": 50}); err != nil {
			return nil, err
		}
	case "fail":
		return nil, errors.New("it is broken")
	case "reject":
		return nil, &client.Rejected{Reason: "not now"}
	case "hold":
		select {
		case <-p.released:
		case <-ctx.Done():
			p.tell("cancelled", object{"id": c.ID})
			return nil, &client.Rejected{Reason: "cancelled"}
		}
	}
	return object{"did": c.Data}, nil
}

// group takes part in a group until leave_group, close or a refusal.
func (p *peer) group(ctx context.Context, r *request) error {
	ctx, leave := context.WithCancel(ctx)
	p.mu.Lock()
	p.groups[r.Group] = leave
	p.mu.Unlock()
	p.ingests.Go(func() {
		err := p.Group(ctx, r.Group, func(_ context.Context, events []client.Event) error {
			failed := false
			for _, e := range events {
				failed = failed || r.Mode == "fail_first" && e.Attempt == 1
				p.tell("event", object{"group": r.Group, "channel": e.Channel, "from": e.From, "data": e.Data, "attempt": e.Attempt})
			}
			if failed {
				return fmt.Errorf("not the first time")
			}
			return nil
		})
		ended := object{"group": r.Group}
		if ctx.Err() == nil {
			ended["error"] = codeOf(err)
		}
		p.tell("group_ended", ended)
	})
	return nil
}
