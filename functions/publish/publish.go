// Package publish serves POST /v1/channels/{channel}/publish (protocol §5): a
// backend sends one message to everyone who is subscribed to a channel. The
// message goes through the same door as those of connections, pkg/publish, so
// what is true of a message there is true here.
//
// A request asks Redis once: the token that it takes from its key's bucket
// (protocol §6) is asked for together with the publishing. See [New].
package publish

import (
	"context"
	"net/http"

	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/protocol"
	"fleetwire/pkg/publish"
)

// Route is where the handler of [New] belongs.
var Route = api.Route{Method: http.MethodPost, Path: "/v1/channels/{channel}/publish", Function: "publish"}

// defaultFrom is who a message is from when the body does not say.
const defaultFrom = "server"

// Publisher is the door for messages: [publish.Service].
type Publisher interface {
	// Check checks name, reserved prefixes, action and authorization, in this
	// order: all that can be said without Redis.
	Check(m publish.Message) *protocol.Error
	// Publish checks the same, then takes the message's token, if it asks for
	// that, and the quota, publishes, and waits until Redis has taken the message.
	Publish(ctx context.Context, m publish.Message) publish.Result
}

// New makes the handler. A body is
//
//	{"data", "from"? = "server", "peerMetadata"?}
//
// where data is any JSON value, null included, delivered byte for byte. The
// answer is 200 {"channel":"…","subscribers":<connections subscribed by name>}.
// Errors in the body (400 invalid_request, missing_data, invalid_peer_id) come
// before those of the channel, and those of the door last.
//
// The rate comes before all of them (package api). To ask Redis only once, a
// request is looked at first, without an answer. If nothing is wrong with it, its
// token is taken in the same step that publishes it. If something is, its token
// is taken by itself, and it is told what is wrong only if it got one.
func New(c api.Config, publisher Publisher) *api.Endpoint {
	if publisher == nil {
		panic("publish.New: a Publisher is required")
	}
	h := &handler{Config: c, publisher: publisher}
	return api.NewTakingToken(c, Route, h.serve)
}

type handler struct {
	api.Config
	publisher Publisher
	over      api.OverRate
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	m, wrong := h.readMessage(w, r, key)
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
		return api.WriteJSON(w, response{Channel: m.Channel, Subscribers: result.Subscribers})
	case result.Err.Code == protocol.RateLimited:
		h.over.Note(key, h.Time())
		return api.RateLimited(w, key, result.RetryAfter)
	case result.Err.Code == protocol.OverMessageQuota:
		api.SetRetryAfter(w, result.RetryAfter)
	}
	return result.Err
}

type response struct {
	Channel     string `json:"channel"`
	Subscribers int64  `json:"subscribers"`
}

// readMessage finds all that is wrong with a request without asking Redis.
func (h *handler) readMessage(w http.ResponseWriter, r *http.Request, key *apps.Key) (m publish.Message, err error) {
	body, err := api.ReadObject(w, r, protocol.MaxBodyBytes, "data", "from", "peerMetadata")
	if err != nil {
		return m, err
	}
	from, given, err := body.String("from", protocol.InvalidPeerID)
	if err != nil {
		return m, err
	}
	if !given {
		from = defaultFrom
	}
	metadata, err := body.Object("peerMetadata", protocol.MaxPeerMetadataBytes)
	if err != nil {
		return m, err
	}
	data, given := body.Raw("data")
	if !given {
		return m, protocol.Errorf(protocol.MissingData, "data is missing; it may be any JSON value, null included")
	}
	if !protocol.ValidPeerID(from) {
		return m, protocol.Errorf(protocol.InvalidPeerID,
			"from %s will not do; it must be 1–%d printable ASCII characters", api.Quote(from), protocol.MaxPeerIDBytes)
	}
	name, err := api.Channel(r)
	if err != nil {
		return m, err
	}
	m = publish.Message{
		Grant:            auth.KeyGrant(key, from, metadata),
		Channel:          name,
		From:             from,
		FromMetadata:     metadata,
		Data:             data,
		CountSubscribers: true,
	}
	if refused := h.publisher.Check(m); refused != nil {
		return m, refused
	}
	return m, nil
}
