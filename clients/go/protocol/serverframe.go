package protocol

import "strconv"

// Pong is the frame that answers a client's ping frame (protocol §4.2).
const Pong = `{"type":"pong"}`

// Welcome is the first frame on every connection (protocol §4.1).
type Welcome struct {
	PeerID         string
	ExpiresAt      int64  // unix seconds; 0, for a publishable key, becomes null
	ServerTime     int64  // unix seconds
	MaxMessageSize int    // bytes
	Metadata       []byte // the token's metadata, one JSON object as it is; nil leaves it out
}

// AppendWelcome appends a welcome frame.
func AppendWelcome(dst []byte, w Welcome) []byte {
	dst = append(dst, `{"type":"welcome","peerId":`...)
	dst = AppendString(dst, w.PeerID)
	dst = append(dst, `,"expiresAt":`...)
	if w.ExpiresAt == 0 {
		dst = append(dst, "null"...)
	} else {
		dst = strconv.AppendInt(dst, w.ExpiresAt, 10)
	}
	dst = append(dst, `,"serverTime":`...)
	dst = strconv.AppendInt(dst, w.ServerTime, 10)
	dst = append(dst, `,"maxMessageSize":`...)
	dst = strconv.AppendInt(dst, int64(w.MaxMessageSize), 10)
	if w.Metadata != nil {
		dst = append(dst, `,"metadata":`...)
		dst = append(dst, w.Metadata...)
	}
	return append(dst, '}')
}

// AppendAck appends the ack of the frame that carried requestID (protocol §4.2).
func AppendAck(dst []byte, requestID string) []byte {
	dst = append(dst, `{"type":"ack","requestId":`...)
	dst = AppendString(dst, requestID)
	return append(dst, '}')
}

// AppendError appends an error frame (protocol §4.4). An empty requestID leaves the field out: the refused
// frame had none, or none that could be read. A backend_error has its outcome.
func AppendError(dst []byte, requestID string, e *Error) []byte {
	dst = append(dst, `{"type":"error",`...)
	if requestID != "" {
		dst = append(dst, `"requestId":`...)
		dst = AppendString(dst, requestID)
		dst = append(dst, ',')
	}
	dst = append(dst, `"code":`...)
	dst = AppendString(dst, string(e.Code))
	dst = append(dst, `,"message":`...)
	dst = AppendString(dst, e.message())
	return append(e.appendOutcome(dst), '}')
}

// AppendMessage appends a message frame (protocol §4.3). The sender's metadata and data are spliced in as they
// are, so each must be one JSON value in valid UTF-8, as Decode and ScanObject hand them out; nil
// metadata is left out.
func AppendMessage(dst []byte, channel, from string, fromMetadata, data []byte) []byte {
	dst = append(dst, `{"type":"message","channel":`...)
	dst = AppendString(dst, channel)
	dst = append(dst, `,"from":`...)
	dst = AppendString(dst, from)
	return appendPayload(dst, fromMetadata, data)
}

// AppendRemembered appends the message frame of a channel that remembers (protocol §9): as AppendMessage's, and its
// offset. replayed says that it was published before the subscribe that it follows.
func AppendRemembered(dst []byte, channel, from string, fromMetadata, data []byte, offset uint64, replayed bool) []byte {
	dst = AppendMessage(dst, channel, from, fromMetadata, data)
	dst = append(dst[:len(dst)-1], `,"offset":`...)
	dst = strconv.AppendUint(dst, offset, 10)
	if replayed {
		dst = append(dst, `,"replayed":true`...)
	}
	return append(dst, '}')
}

// AppendDirect appends a direct frame: a message to one peer (protocol §4.3). The rest is as in AppendMessage.
func AppendDirect(dst []byte, from string, fromMetadata, data []byte) []byte {
	dst = append(dst, `{"type":"direct","from":`...)
	dst = AppendString(dst, from)
	return appendPayload(dst, fromMetadata, data)
}

func appendPayload(dst, fromMetadata, data []byte) []byte {
	if fromMetadata != nil {
		dst = append(dst, `,"fromMetadata":`...)
		dst = append(dst, fromMetadata...)
	}
	dst = append(dst, `,"data":`...)
	dst = append(dst, data...)
	return append(dst, '}')
}

// AppendRefreshed appends the ack of a refresh (protocol §4.2): when the new credential expires, in unix seconds, and
// the channels and patterns whose subscriptions were dropped because it does not cover them.
func AppendRefreshed(dst []byte, requestID string, expiresAt int64, unsubscribed []string) []byte {
	dst = append(dst, `{"type":"ack","requestId":`...)
	dst = AppendString(dst, requestID)
	dst = append(dst, `,"expiresAt":`...)
	dst = strconv.AppendInt(dst, expiresAt, 10)
	dst = append(dst, `,"unsubscribed":[`...)
	for i, name := range unsubscribed {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, name)
	}
	return append(dst, "]}"...)
}

// PresencePeer is a peer in a presence frame.
type PresencePeer struct {
	PeerID   string
	Metadata string // one JSON object as it is; "" leaves it out
}

// AppendPresence appends a presence frame (protocol §4.3): who has joined the channel and who has left it. A snapshot
// lists all peers as joined.
func AppendPresence(dst []byte, channel string, joined, left []PresencePeer) []byte {
	dst = append(dst, `{"type":"presence","channel":`...)
	dst = AppendString(dst, channel)
	dst = append(dst, `,"joined":[`...)
	dst = appendPeers(dst, joined)
	dst = append(dst, `],"left":[`...)
	dst = appendPeers(dst, left)
	return append(dst, "]}"...)
}

func appendPeers(dst []byte, peers []PresencePeer) []byte {
	for i, p := range peers {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"peerId":`...)
		dst = AppendString(dst, p.PeerID)
		if p.Metadata != "" {
			dst = append(dst, `,"metadata":`...)
			dst = append(dst, p.Metadata...)
		}
		dst = append(dst, '}')
	}
	return dst
}

// AppendGoingAway appends the frame that comes before close code 1001: the node is about to close, and the
// peer may connect again after retryAfterMs milliseconds (protocol §4.5).
func AppendGoingAway(dst []byte, retryAfterMs int64) []byte {
	dst = append(dst, `{"type":"going_away","retryAfterMs":`...)
	dst = strconv.AppendInt(dst, retryAfterMs, 10)
	return append(dst, '}')
}
