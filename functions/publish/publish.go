// Package publish serves POST /v1/channels/{channel}/publish and POST /v1/publish
// (protocol §5): a backend sends one message, or many, to everyone who is subscribed to a
// channel. The messages go through the same door as those of connections, pkg/publish, so
// what is true of a message there is true here.
//
// A request with one message asks Redis once: the token that it takes from its key's bucket
// (protocol §6) is asked for together with the publishing. See [New].
package publish

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/publish"
)

// The routes of the handlers.
var (
	Route     = api.Route{Method: http.MethodPost, Path: "/v1/channels/{channel}/publish", Function: "publish"}
	ManyRoute = api.Route{Method: http.MethodPost, Path: "/v1/publish", Function: "publish"}
)

// Publisher is the door for messages: [publish.Service].
type Publisher interface {
	// Check checks name, reserved prefixes, action and authorization, in this
	// order: all that can be said without Redis.
	Check(m publish.Message) *protocol.Error
	// Publish checks the same, then takes the message's token, if it asks for
	// that, and the quota, publishes, and waits until Redis has taken the message.
	Publish(ctx context.Context, m publish.Message) publish.Result
	// Submit checks the same, and hands the message on; done is told what became of it,
	// unless there is an error.
	Submit(m publish.Message, done publish.Completion) *protocol.Error
}

// New makes the handler of both routes. A body with one message is
//
//	{"data", "from"? = "server", "peerMetadata"?, "idempotencyKey"?, "ifOffset"?, "ifEpoch"?}
//
// where data is any JSON value, null included, delivered byte for byte. The
// answer is 200 {"channel":"…","subscribers":<connections subscribed by name>}, with the
// message's "epoch" and "offset" in a channel that remembers (protocol §9).
// Errors in the body (400 invalid_request, missing_data, invalid_peer_id) come
// before those of the channel, and those of the door last.
//
// The rate comes before all of them (package api). To ask Redis only once, a
// request is looked at first, without an answer. If nothing is wrong with it, its
// token is taken in the same step that publishes it. If something is, its token
// is taken by itself, and it is told what is wrong only if it got one.
func New(c api.Config, publisher Publisher) http.Handler {
	return api.NewRouter(c, nil, Endpoints(c, publisher)...)
}

// Endpoints makes the endpoints of both routes.
func Endpoints(c api.Config, publisher Publisher) []*api.Endpoint {
	if publisher == nil {
		panic("publish.Endpoints: a Publisher is required")
	}
	h := &handler{Config: c, publisher: publisher}
	return []*api.Endpoint{api.NewTakingToken(c, Route, h.one), api.New(c, ManyRoute, h.many)}
}

type handler struct {
	api.Config
	publisher Publisher
	over      api.OverRate
}

// one serves POST /v1/channels/{channel}/publish.
func (h *handler) one(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	m, wrong := h.readOne(w, r, key)
	m.TakeToken = wrong == nil && !h.over.Lately(key, h.Time())
	if !m.TakeToken {
		if err := h.Config.TakeToken(w, r, key); err != nil {
			return err
		}
	}
	if wrong != nil {
		return wrong
	}
	result := h.publisher.Publish(r.Context(), m)
	switch {
	case result.Err == nil:
		api.Write(w, http.StatusOK, appendPublished(nil, m.Channel, &result))
		return nil
	case result.Err.Code == protocol.OffsetMismatch:
		return mismatch(&m, &result)
	case result.Err.Code == protocol.RateLimited:
		h.over.Note(key, h.Time())
		return api.RateLimited(w, key, result.RetryAfter)
	case result.Err.Code == protocol.OverMessageQuota:
		api.SetRetryAfter(w, result.RetryAfter)
	case result.Err.Code == protocol.GroupFull:
		api.SetRetryAfter(w, time.Second)
	}
	return result.Err
}

// appendPublished appends what a published message is answered with.
func appendPublished(b []byte, channel string, r *publish.Result) []byte {
	b = protocol.AppendString(append(b, `{"channel":`...), channel)
	b = strconv.AppendInt(append(b, `,"subscribers":`...), r.Subscribers, 10)
	if r.Position != nil {
		b = api.AppendPosition(b, *r.Position)
	}
	return append(b, '}')
}

// mismatch is the error for a message whose condition does not hold. It has the position and,
// for a key that may subscribe, the message that came first.
func mismatch(m *publish.Message, r *publish.Result) error {
	members := api.AppendPosition(nil, *r.Position)
	if r.Current != nil && m.Grant.Check(apps.ActionSubscribe, m.Channel) == nil {
		members = api.AppendMessage(append(members, `,"newest":`...), r.Current)
	}
	return api.WithMembers(r.Err, members)
}
