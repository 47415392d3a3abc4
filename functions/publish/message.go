package publish

import (
	"net/http"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/publish"
)

// defaultFrom is who a message is from when the body does not say.
const defaultFrom = "server"

// fields are those of a message in a body.
var fields = []string{"data", "from", "peerMetadata", "idempotencyKey", "ifOffset", "ifEpoch"}

// readOne reads a request of one message, and makes all checks that do not need Redis.
func (h *handler) readOne(w http.ResponseWriter, r *http.Request, key *apps.Key) (m publish.Message, err error) {
	body, err := api.ReadObject(w, r, protocol.MaxBodyBytes, fields...)
	if err != nil {
		return m, err
	}
	if m, err = readMessage(body, key); err != nil {
		return m, err
	}
	if m.Channel, err = api.Channel(r); err != nil {
		return m, err
	}
	if refused := h.publisher.Check(m); refused != nil {
		return m, refused
	}
	return m, nil
}

// readMessage reads a message from the object that says what it is, but for its channel.
func readMessage(body api.Object, key *apps.Key) (m publish.Message, err error) {
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
	m = publish.Message{
		Grant:            auth.KeyGrant(key, from, metadata),
		From:             from,
		FromMetadata:     metadata,
		Data:             data,
		CountSubscribers: true,
	}
	return m, readConditions(body, &m)
}

// readConditions reads what the message asks for beside being published (protocol §9).
func readConditions(body api.Object, m *publish.Message) (err error) {
	if m.IdempotencyKey, err = body.Key("idempotencyKey", protocol.MaxIdempotencyKeyBytes); err != nil {
		return err
	}
	const absent = -1
	offset, err := body.Int("ifOffset", "messages", 0, protocol.MaxOffset, absent)
	if err != nil {
		return err
	}
	if offset != absent {
		n := uint64(offset)
		m.IfOffset = &n
	}
	epoch, given, err := body.String("ifEpoch", protocol.InvalidRequest)
	switch {
	case err != nil || !given:
		return err
	case !protocol.ValidEpoch(epoch):
		return protocol.Errorf(protocol.InvalidRequest, "ifEpoch %s will not do; it must be 1 to %d letters and digits, as an answer with epoch has it", api.Quote(epoch), protocol.MaxEpochBytes)
	case offset == absent:
		return protocol.Errorf(protocol.InvalidRequest, "ifEpoch is there without ifOffset; an epoch alone is no condition")
	}
	m.IfEpoch = epoch
	return nil
}
