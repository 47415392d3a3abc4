// Package publish serves POST /v1/channels/{channel}/publish (protocol §5): a
// backend sends one message to everyone who is subscribed to a channel. The
// message goes through the same door as those of connections, pkg/publish, so
// what is true of a message there is true here.
package publish

import (
	"context"
	"net/http"
	"net/url"

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
	// Publish checks name, reserved prefixes, action, authorization and quota,
	// in this order, publishes, and waits until Redis has taken the message.
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
func New(c api.Config, publisher Publisher) http.Handler {
	if publisher == nil {
		panic("publish.New: a Publisher is required")
	}
	return api.New(c, Route, func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		m, err := readMessage(w, r, key)
		if err != nil {
			return err
		}
		result := publisher.Publish(r.Context(), m)
		if result.Err != nil {
			if result.Err.Code == protocol.OverMessageQuota {
				api.SetRetryAfter(w, result.RetryAfter)
			}
			return result.Err
		}
		return api.WriteJSON(w, response{Channel: m.Channel, Subscribers: result.Subscribers})
	})
}

type response struct {
	Channel     string `json:"channel"`
	Subscribers int64  `json:"subscribers"`
}

func readMessage(w http.ResponseWriter, r *http.Request, key *apps.Key) (m publish.Message, err error) {
	body, err := api.ReadObject(w, r, "data", "from", "peerMetadata")
	if err != nil {
		return m, err
	}
	from, given, err := body.String("from")
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
	name, err := channelFromPath(r.URL.EscapedPath())
	if err != nil {
		return m, err
	}
	return publish.Message{
		Grant:            auth.KeyGrant(key, from, metadata),
		Channel:          name,
		From:             from,
		FromMetadata:     metadata,
		Data:             data,
		CountSubscribers: true,
	}, nil
}

// channelFromPath cuts the channel out of an escaped path and decodes it once:
// %2F, %2f and slashes that a front door has decoded all come to the same, and
// '+' is a plus sign. Whether the name is valid is for the door to say.
func channelFromPath(escapedPath string) (string, error) {
	escaped, ok := Route.Match(escapedPath)
	if !ok {
		return "", api.NotFound(Route)
	}
	name, err := url.PathUnescape(escaped)
	if err != nil {
		return "", protocol.Errorf(protocol.InvalidChannel,
			"the channel in the path has a broken escape (%v); percent-encode it, a literal %% as %%25", err)
	}
	return name, nil
}
