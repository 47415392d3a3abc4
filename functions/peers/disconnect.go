package peers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/orders"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/revocation"
)

// DisconnectRoute is where the handler of [NewDisconnect] belongs.
var DisconnectRoute = api.Route{Method: http.MethodDelete, Path: "/v1/peers/{peer}", Function: "peers"}

// Connections closes what a peer has open, on every node: [orders.Sender].
type Connections interface {
	// Disconnect returns how many connections were closed. With
	// orders.ErrUnanswered that is how many are known of.
	Disconnect(ctx context.Context, app, peer string) (closed int64, err error)
}

// Revocations refuses a peer's tokens: [revocation.List].
type Revocations interface {
	// Revoke refuses those issued until at.
	Revoke(ctx context.Context, app *apps.App, peer string, at time.Time) error
}

// NewDisconnect makes the handler that closes all connections of a peer, on every
// node, with 4020. The answer is 200 {"peerId":"…","closed":<connections>}; 0 is
// no error. With ?revoke=true the peer's tokens issued up to now, the current
// second included, are refused until they expire.
//
// Any secret key of the app may do this. A path or query that is wrong is 400
// (invalid_peer_id, invalid_request). When Redis or a node does not answer, it is
// 503 backend_error, whose outcome is unknown unless nothing at all was done, and the
// message says what was done; doing it again is safe.
func NewDisconnect(c api.Config, connections Connections, revocations Revocations) *api.Endpoint {
	if connections == nil || revocations == nil {
		panic("peers.NewDisconnect: Connections and Revocations are required")
	}
	return api.New(c, DisconnectRoute, func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		peer, revoke, err := readDisconnect(r)
		if err != nil {
			return err
		}
		// First, so that who is disconnected cannot come back.
		if revoke {
			if err := revocations.Revoke(r.Context(), key.App, peer, c.Time()); err != nil {
				return fmt.Errorf("%w: %w", unrevoked(err), err)
			}
		}
		closed, err := connections.Disconnect(r.Context(), key.App.ID, peer)
		if err != nil {
			return unfinished(revoke, closed, err)
		}
		return api.WriteJSON(w, response{peer, closed})
	})
}

type response struct {
	PeerID string `json:"peerId"`
	Closed int64  `json:"closed"`
}

// unrevoked is what is told when the revocation is not known to be noted.
func unrevoked(err error) *protocol.Error {
	if errors.Is(err, revocation.ErrFull) {
		return protocol.Errorf(protocol.InvalidRequest, "the app has %d revoked peers, the most that are kept; nothing was done. Set limits.maxTokenLifeSec in the apps document, so that revocations end sooner, or replace the secret key that signs the tokens", revocation.MaxPeers)
	}
	if redisconn.Undone(err) {
		return protocol.Errorf(protocol.BackendError, "Redis did not take the revocation; nothing was done, try again")
	}
	return protocol.Unknownf("Redis did not answer; whether the peer's tokens are revoked is not known, and its connections were left open; try again")
}

func unfinished(revoked bool, closed int64, err error) error {
	shown := protocol.Unknownf("Redis did not answer; whether the peer's connections are closed is not known")
	switch {
	case errors.Is(err, orders.ErrUnanswered):
		shown.Message = fmt.Sprintf("not every node has answered; %d connections are known to be closed, the others will be when their nodes reach Redis again", closed)
	case redisconn.Undone(err):
		shown.Message = "Redis did not take the order"
		if !revoked {
			shown.Outcome = protocol.OutcomeNone
		}
	}
	if revoked {
		shown.Message += "; the peer's tokens are revoked"
	}
	shown.Message += "; try again"
	return fmt.Errorf("%w: %w", shown, err)
}

// readPeer reads the peer in the path.
func readPeer(r *http.Request) (string, error) {
	peer, err := url.PathUnescape(r.PathValue("peer"))
	if err != nil {
		return "", protocol.Errorf(protocol.InvalidPeerID,
			"the peer in the path has a broken escape (%v); percent-encode it, a literal %% as %%25", err)
	}
	if !protocol.ValidPeerID(peer) {
		return "", protocol.Errorf(protocol.InvalidPeerID,
			"invalid peer id %s in the path: use 1 to %d printable ASCII characters", api.Quote(peer), protocol.MaxPeerIDBytes)
	}
	return peer, nil
}

func readDisconnect(r *http.Request) (peer string, revoke bool, err error) {
	if peer, err = readPeer(r); err != nil {
		return "", false, err
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return "", false, protocol.Errorf(protocol.InvalidRequest, "the query cannot be read: %v", err)
	}
	for name, values := range query {
		if name != "revoke" {
			return "", false, protocol.Errorf(protocol.InvalidRequest, "there is no query parameter %s; there is revoke", api.Quote(name))
		}
		if len(values) != 1 || values[0] != "true" && values[0] != "false" {
			return "", false, protocol.Errorf(protocol.InvalidRequest, "revoke must be true or false, once")
		}
		revoke = values[0] == "true"
	}
	return peer, revoke, nil
}
