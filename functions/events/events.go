// Package events streams what happens to the peers of an app, and messages, as it happens: GET
// /v1/events (protocol §5), as server-sent events. Only nodes serve it: a Lambda function behind a load
// balancer answers in one piece.
package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/events"
)

// Route is where the handler of [New] belongs. No function has it.
var Route = api.Route{Method: http.MethodGet, Path: "/v1/events"}

// pingEvery is how often a stream without events says that it is there.
const pingEvery = 15 * time.Second

// Streams begins streams: a node's.
type Streams interface {
	// Open returns the events, in a channel that is closed behind the last one, or when ctx ends. The error
	// is events.ErrTooMany, events.ErrGoingAway, or that the stream could not begin.
	Open(ctx context.Context, key *apps.Key, r events.Request) (<-chan events.Event, error)
}

// New makes the handler that streams events. It takes the query parameters
//
//	peer     events of this peer alone, and its frames
//	types    which: connect, refusal, close, error, frame, with commas between them; default: all, frames with
//	         peer alone; none with channel alone
//	channel  messages of a channel, or of all that a pattern matches
//
// and answers 200 with text/event-stream, an event for each that comes. Events of peers need presence; frames
// a key that may subscribe to all channels; messages one that may subscribe to those channels.
func New(c api.Config, streams Streams) *api.Endpoint {
	if streams == nil {
		panic("events.New: Streams is required")
	}
	return api.New(c, Route, func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		request, err := read(r, key)
		if err != nil {
			return err
		}
		if r.Method == http.MethodHead {
			header(w)
			w.WriteHeader(http.StatusOK)
			return nil
		}
		ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
		stream, err := streams.Open(ctx, key, request)
		switch {
		case errors.Is(err, events.ErrTooMany):
			cancel()
			w.Header().Set("Retry-After", "10")
			return protocol.Errorf(protocol.RateLimited, "key %s has %d streams of events on this node, the most that it may; end one, or wait", key.ID, events.MaxStreams)
		case errors.Is(err, events.ErrGoingAway):
			cancel()
			return protocol.Errorf(protocol.BackendError, "this node is going away; try again, and another node answers")
		case err != nil:
			cancel()
			return fmt.Errorf("%w: %w", protocol.Errorf(protocol.BackendError, "the stream could not begin; try again"), err)
		}
		header(w)
		api.Stream(w, r, func(gone context.Context, send func([]byte) error) {
			defer cancel()
			write(gone, stream, send)
		})
		return nil
	})
}

func header(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would gather events
}

// write writes events until there are no more, or the client is gone.
func write(gone context.Context, stream <-chan events.Event, send func([]byte) error) {
	quiet := time.NewTicker(pingEvery)
	defer quiet.Stop()
	if send([]byte(": the stream has begun\n\n")) != nil {
		return
	}
	for {
		var text []byte
		select {
		case <-gone.Done():
			return
		case <-quiet.C:
			text = []byte(": ping\n\n")
		case e, ok := <-stream:
			if !ok {
				return
			}
			text = appendEvent(nil, e)
			quiet.Reset(pingEvery)
		}
		if send(text) != nil {
			return
		}
	}
}

// appendEvent appends an event as it is sent: JSON has no line breaks.
func appendEvent(b []byte, e events.Event) []byte {
	name := e.Type
	e.Type = ""
	data, err := json.Marshal(e)
	if err != nil { // data that is no JSON came with it
		e.Data, e.Metadata = nil, nil
		data, _ = json.Marshal(e)
	}
	return fmt.Appendf(b, "event: %s\ndata: %s\n\n", name, data)
}

// read reads what a request asks for, in the order of protocol §4.4.
func read(r *http.Request, key *apps.Key) (want events.Request, err error) {
	values, err := api.ReadQuery(r.URL.RawQuery, "peer", "types", "channel")
	if err != nil {
		return want, err
	}
	if want.Peer = values.Get("peer"); values.Has("peer") && !protocol.ValidPeerID(want.Peer) {
		return want, protocol.Errorf(protocol.InvalidPeerID, "peer is %s; it must be 1 to %d printable ASCII characters", api.Quote(want.Peer), protocol.MaxPeerIDBytes)
	}
	if want.Types, err = types(values); err != nil {
		return want, err
	}
	if values.Has("channel") {
		if want.Pattern, err = channel.Compile(values.Get("channel")); err != nil {
			return want, protocol.Errorf(protocol.InvalidChannel, "channel: %v", err)
		}
	}
	if refused := check(key, &want); refused != nil {
		return want, refused
	}
	asked := want
	want.Allowed = func(key *apps.Key) bool { return check(key, &asked) == nil }
	return want, nil
}

// types are those that a request asks for.
func types(values url.Values) (all []events.Type, err error) {
	switch {
	case values.Has("types"):
		for name := range strings.SplitSeq(values.Get("types"), ",") {
			t := events.Type(name)
			if !slices.Contains(events.OfPeers, t) {
				return nil, protocol.Errorf(protocol.InvalidRequest, "types has %s; the types are connect, refusal, close, error, frame", api.Quote(name))
			}
			if t == events.Frame && !values.Has("peer") {
				return nil, protocol.Errorf(protocol.InvalidRequest, "types has frame, and there is no peer; name the peer whose frames you want")
			}
			all = append(all, t)
		}
	case values.Has("peer"):
		all = events.OfPeers
	case !values.Has("channel"):
		all = events.OfPeers[:len(events.OfPeers)-1] // but frames
	}
	return all, nil
}

// everything is the pattern that a key has to cover to see frames.
const everything = "**"

// check says why a key may not see what is asked for, or nil.
func check(key *apps.Key, want *events.Request) *protocol.Error {
	grant := auth.KeyGrant(key, "", nil)
	if len(want.Types) > 0 && !key.Actions.Has(apps.ActionPresence) {
		return auth.NotPermitted(apps.ActionPresence)
	}
	if slices.Contains(want.Types, events.Frame) {
		if _, refused := grant.CheckPattern(apps.ActionSubscribe, everything); refused != nil {
			return protocol.Errorf(refused.Code, "frames: %s. A peer's frames can be of any channel, so they need a key that may subscribe to **; for the rest ask for types=connect,refusal,close,error", refused.Message)
		}
	}
	if want.Pattern != nil {
		if _, refused := grant.CheckPattern(apps.ActionSubscribe, want.Pattern.String()); refused != nil {
			return refused
		}
	}
	return nil
}
