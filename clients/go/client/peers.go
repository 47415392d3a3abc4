package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"fleetwire/clients/go/protocol"
)

// A Peer is what the service knows of a peer (protocol §5, GET /v1/peers).
type Peer struct {
	ID             string          `json:"peerId"`
	Online         bool            // it has a connection, or its last one ended moments ago
	Epoch          uint64          // counts its connects
	ConnectedAt    Time            // when it came online
	LastSeenAt     Time            // while it is online, to some seconds
	Metadata       json.RawMessage // its peerMetadata; nil: it has none
	LastDisconnect *Disconnect     // how a connection of it ended last; nil: none has
	Connections    []Connection    // only of REST.Peer
}

// A Disconnect is the end of a connection.
type Disconnect struct {
	At     Time
	Code   protocol.CloseCode // 1006: the link broke
	Reason string             // such as closed, lost, kicked
}

// A Connection is one that a peer has now. Node, Address and UserAgent are empty for keys
// that may not watch the connectivity of all peers.
type Connection struct {
	ID, Node, Protocol, Address, UserAgent string
	ConnectedAt                            Time
	Subscriptions                          []string // those that the key's patterns cover
}

// PeerQuery says which peers REST.Peers is about. The zero value is all that the app knows.
type PeerQuery struct {
	Prefix     string    // how their ids begin
	Online     *bool     // those that are online, or are not; nil: both
	SeenBefore time.Time // those that were seen last before; zero: all
}

// Peers returns the peers that the app knows, ordered by id. The key needs the action
// presence. It reads page after page, and ends with an error, if one comes; a peer that
// comes or goes meanwhile may be there or not.
func (r *REST) Peers(ctx context.Context, q PeerQuery) iter.Seq2[Peer, error] {
	query := url.Values{}
	if q.Prefix != "" {
		query.Set("prefix", q.Prefix)
	}
	if q.Online != nil {
		query.Set("online", strconv.FormatBool(*q.Online))
	}
	if !q.SeenBefore.IsZero() {
		query.Set("seenBefore", strconv.FormatInt(q.SeenBefore.UnixMilli(), 10))
	}
	return entries[Peer](ctx, r, "/peers", "peers", query)
}

// Peer returns what is known of a peer, and its connections. Of a peer that the app does
// not know the error is an *Error with protocol.PeerNotFound.
func (r *REST) Peer(ctx context.Context, id string) (p Peer, err error) {
	if err := r.do(ctx, http.MethodGet, "/peers/"+url.PathEscape(id), nil, &p); err != nil {
		return Peer{}, fmt.Errorf("client: peer %q: %w", id, err)
	}
	return p, nil
}
