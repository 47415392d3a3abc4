// Package events is what GET /v1/events tells (protocol §5): what happens to an app's peers on all
// nodes, as it happens. Each node tells what is watched there; the node that serves the stream
// collects it.
package events

import (
	"encoding/json"
	"errors"
	"slices"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/apps"
)

// Type is what an event is about.
type Type string

// The types. Sampled and End are about the stream itself.
const (
	Connect Type = "connect"
	Refusal Type = "refusal"
	Close   Type = "close"
	Error   Type = "error"
	Frame   Type = "frame"
	Message Type = "message"
	Sampled Type = "sampled"
	End     Type = "end"
)

// OfPeers are the types that a stream can ask for; Frame needs a peer.
var OfPeers = []Type{Connect, Refusal, Close, Error, Frame}

// Bounds.
const (
	PerSecond     = 100     // events of a stream; the others are left out, and counted
	MaxFrameBytes = 4 << 10 // of a frame that is shown
	MaxStreams    = 20      // of a key on one node
)

// ErrTooMany reports that a key has MaxStreams on the node.
var ErrTooMany = errors.New("the key has too many streams on this node")

// ErrGoingAway reports that the node drains.
var ErrGoingAway = errors.New("the node is going away")

// Request is what a stream shows: events of the peers, or of one, and messages.
type Request struct {
	Peer    string           // "": all
	Types   []Type           // of OfPeers; none: no events of peers
	Pattern *channel.Pattern // messages of these channels; nil: none
	// Allowed says whether a key may see that: the document can change.
	Allowed func(*apps.Key) bool
}

// Event is one event. Fields that a type does not have are left out.
type Event struct {
	Type       Type            `json:"type,omitempty"` // between nodes; a stream has it outside the data
	At         int64           `json:"at"`             // unix milliseconds
	Node       string          `json:"node,omitempty"`
	PeerID     string          `json:"peerId,omitempty"`
	Connection string          `json:"connection,omitempty"`
	Key        string          `json:"key,omitempty"` // id of the key that signed a refused credential (auth.ShownID)
	Address    string          `json:"address,omitempty"`
	UserAgent  string          `json:"userAgent,omitempty"`
	Code       any             `json:"code,omitempty"` // a close code, 429, or an error code
	Reason     string          `json:"reason,omitempty"`
	By         string          `json:"by,omitempty"` // server, peer or network
	Message    string          `json:"message,omitempty"`
	Direction  string          `json:"direction,omitempty"` // in: from the peer; out: to it
	Frame      string          `json:"frame,omitempty"`
	Truncated  bool            `json:"truncated,omitempty"`
	Channel    string          `json:"channel,omitempty"`
	From       string          `json:"from,omitempty"`
	Metadata   json.RawMessage `json:"fromMetadata,omitempty"`
	Data       json.RawMessage `json:"data,omitempty"`
	Offset     uint64          `json:"offset,omitempty"`
	Dropped    uint64          `json:"dropped,omitempty"`
}

// Watch is what a stream has all nodes tell, until the lease ends.
type Watch struct {
	Stream  string `json:"stream"`         // the peer id under which the stream hears
	Peer    string `json:"peer,omitempty"` // "": all peers
	Types   []Type `json:"types"`
	LeaseMs int64  `json:"leaseMs"` // 0: it has ended
}

// Wants says whether the watch is for events of a type about a peer, "" for one that is not known.
func (w *Watch) Wants(t Type, peer string) bool {
	return (w.Peer == "" || w.Peer == peer) && slices.Contains(w.Types, t)
}
