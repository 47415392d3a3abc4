package publish

import (
	"strconv"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/idempotency"
	"fleetwire/pkg/publish/send"
)

// checkAsked checks the message's key and condition.
func (m *Message) checkAsked() *protocol.Error {
	switch {
	case len(m.IdempotencyKey) > protocol.MaxIdempotencyKeyBytes:
		return m.invalid("idempotencyKey is %d bytes long; at most %d are allowed", len(m.IdempotencyKey), protocol.MaxIdempotencyKeyBytes)
	case m.IfOffset == nil && m.IfEpoch != "":
		return m.invalid("ifEpoch needs ifOffset beside it: the offset of the channel's newest message in that epoch")
	case m.IfOffset != nil && m.Grant.App.HistoryOf(m.Channel) == nil:
		return m.invalid("ifOffset needs a channel that remembers its messages, and no history of the app's configuration matches channel %q", m.Channel)
	}
	return nil
}

// invalid is the refusal of a message from a socket or from REST.
func (m *Message) invalid(format string, args ...any) *protocol.Error {
	if m.Sender != nil {
		return protocol.Errorf(protocol.MalformedMessage, format, args...)
	}
	return protocol.Errorf(protocol.InvalidRequest, format, args...)
}

// fingerprint is that of all that the caller asks for. A connection's metadata is its
// token's, which may be another one when the message is repeated.
func (m *Message) fingerprint() string {
	offset, metadata := "", ""
	if m.IfOffset != nil {
		offset = strconv.FormatUint(*m.IfOffset, 10)
	}
	if m.Connection == 0 {
		metadata = string(m.FromMetadata)
	}
	return idempotency.Fingerprint(string(m.Data), m.From, metadata, offset, m.IfEpoch)
}

// mismatch is the refusal of a message whose condition does not hold.
func mismatch(o *send.Outgoing) *protocol.Error {
	if o.IfEpoch != "" && o.IfEpoch != o.Position.Epoch {
		return protocol.Errorf(protocol.OffsetMismatch, "the channel is in another epoch, where its newest offset is %d; nothing was published", o.Position.Offset)
	}
	return protocol.Errorf(protocol.OffsetMismatch, "the channel's newest offset is %d and not %d; nothing was published", o.Position.Offset, *o.IfOffset)
}
