package groups

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/group"
	"fleetwire/pkg/sink"
)

// readPull reads what an ingester wants.
func readPull(body api.Object, key *apps.Key) (p group.Pull, wait time.Duration, err error) {
	p = group.Pull{App: key.App}
	most, err := body.Int("max", "messages", 1, MaxPull, DefaultPull)
	if err != nil {
		return p, 0, err
	}
	bytes, err := body.Int("maxBytes", "bytes", MinPullBytes, MaxPullBytes, DefaultBytes)
	if err != nil {
		return p, 0, err
	}
	ms, err := body.Int("waitMs", "milliseconds", 0, MaxWait.Milliseconds(), 0)
	if err != nil {
		return p, 0, err
	}
	p.Max, p.MaxBytes = int(most), int(bytes)
	consumer, given, err := body.String("consumer", protocol.InvalidRequest)
	switch {
	case err != nil:
		return p, 0, err
	case !given:
		consumer = key.ID
	case !protocol.ValidPeerID(consumer):
		return p, 0, protocol.Errorf(protocol.InvalidRequest, "consumer %s will not do; it must be 1–%d printable ASCII characters", api.Quote(consumer), protocol.MaxPeerIDBytes)
	}
	p.Consumer = consumer
	return p, time.Duration(ms) * time.Millisecond, nil
}

// readAcks reads what was done with messages.
func readAcks(body api.Object) (acks []string, nacks []group.Nack, err error) {
	acks, err = readTexts(body, "ackIds", "ids of messages", MaxAcks)
	if err != nil {
		return nil, nil, err
	}
	var items []json.RawMessage
	if _, given := body.Raw("nack"); given {
		if items, err = body.Items("nack", `objects {"ackId","delayMs"}`, MaxAcks); err != nil {
			return nil, nil, err
		}
	}
	for i, item := range items {
		n, err := readNack(item, fmt.Sprintf("nack[%d]", i))
		if err != nil {
			return nil, nil, err
		}
		nacks = append(nacks, n)
	}
	switch n := len(acks) + len(nacks); {
	case n == 0:
		return nil, nil, protocol.Errorf(protocol.InvalidRequest, "ackIds and nack name no message; name 1 to %d", MaxAcks)
	case n > MaxAcks:
		return nil, nil, protocol.Errorf(protocol.InvalidRequest, "ackIds and nack name %d messages together; at most %d are allowed", n, MaxAcks)
	}
	return acks, nacks, nil
}

func readNack(item json.RawMessage, what string) (n group.Nack, err error) {
	o, err := api.ReadItem(item, what, "ackId", "delayMs")
	if err != nil {
		return n, err
	}
	id, given, err := o.String("ackId", protocol.InvalidRequest)
	if err != nil {
		return n, err
	}
	if !given {
		return n, protocol.Errorf(protocol.InvalidRequest, "%s has no ackId; name the message that is to be delivered again", what)
	}
	ms, err := o.Int("delayMs", "milliseconds", 0, MaxDelay.Milliseconds(), 0)
	return group.Nack{AckID: id, Delay: time.Duration(ms) * time.Millisecond}, err
}

// readIDs reads ids of dead letters; none: all are meant.
func readIDs(body api.Object) ([]string, error) {
	return readTexts(body, "ids", "ids of dead letters, or left out for all", MaxRedrive)
}

// readTexts reads an array of 1 to most strings, which may be missing.
func readTexts(body api.Object, name, what string, most int) (texts []string, err error) {
	if _, given := body.Raw(name); !given {
		return nil, nil
	}
	items, err := body.Items(name, what, most)
	if err != nil {
		return nil, err
	}
	texts = make([]string, len(items))
	for i, item := range items {
		if item[0] != '"' {
			return nil, protocol.Errorf(protocol.InvalidRequest, "%s[%d] is %s; it must be a string", name, i, protocol.Kind(item))
		}
		if texts[i], err = protocol.DecodeString(item); err != nil {
			return nil, protocol.Errorf(protocol.InvalidRequest, "%s[%d] %v", name, i, err)
		}
	}
	return texts, nil
}

// The bodies are appended by hand, because data goes out byte for byte: encoding/json
// would take white space out of it.

func appendMessages(b []byte, messages []group.Message) []byte {
	b = append(b, `{"messages":[`...)
	for i := range messages {
		m := &messages[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = protocol.AppendString(append(b, `{"ackId":`...), m.AckID)
		b = appendContent(b, m.Channel, &m.Content)
		b = strconv.AppendInt(append(b, `,"publishedAt":`...), m.PublishedAt, 10)
		b = strconv.AppendInt(append(b, `,"attempt":`...), int64(m.Attempt), 10)
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// appendContent appends the channel and the content of a message, with a comma before each.
func appendContent(b []byte, channel string, c *envelope.Content) []byte {
	b = protocol.AppendString(append(b, `,"channel":`...), channel)
	b = protocol.AppendString(append(b, `,"from":`...), c.From)
	if len(c.FromMetadata) > 0 {
		b = append(append(b, `,"fromMetadata":`...), c.FromMetadata...)
	}
	return append(append(b, `,"data":`...), c.Data...)
}

func appendAcks(b []byte, ackIDs []string, held []bool) []byte {
	b = append(b, `{"results":[`...)
	for i, id := range ackIDs {
		if i > 0 {
			b = append(b, ',')
		}
		b = protocol.AppendString(append(b, `{"ackId":`...), id)
		if held[i] {
			b = append(b, `,"result":"ok"}`...)
		} else {
			b = append(b, `,"result":"lease_lost"}`...)
		}
	}
	return append(b, "]}"...)
}

// number is a member of an object.
type number struct {
	name string
	n    int64
}

// appendNumbers appends members, with a comma before each.
func appendNumbers(b []byte, numbers ...number) []byte {
	for _, f := range numbers {
		b = strconv.AppendInt(append(append(append(b, `,"`...), f.name...), `":`...), f.n, 10)
	}
	return b
}

func appendState(b []byte, g *apps.Group, s group.State, of sink.State) []byte {
	b = protocol.AppendString(append(b, `{"group":`...), g.Name)
	b = appendNumbers(b,
		number{"lag", s.Lag}, number{"pending", s.Pending}, number{"dead", s.Dead}, number{"bytes", s.Bytes}, number{"oldestAgeMs", s.OldestAgeMs},
		number{"droppedByAge", s.DroppedByAge}, number{"droppedByOverflow", s.DroppedByOverflow})
	b = append(b, `,"consumers":[`...)
	for i, c := range s.Consumers {
		if i > 0 {
			b = append(b, ',')
		}
		b = protocol.AppendString(append(b, `{"consumer":`...), c.Name)
		b = append(strconv.AppendInt(append(b, `,"pending":`...), c.Pending, 10), '}')
	}
	b = append(b, ']')
	if g.Sink != nil {
		b = appendSink(append(b, `,"sink":`...), g.Sink, of)
	}
	return append(b, '}')
}

// appendSink leaves out what there was not yet.
func appendSink(b []byte, s *apps.Sink, of sink.State) []byte {
	b = protocol.AppendString(append(b, `{"type":`...), string(s.Type))
	b = protocol.AppendString(append(b, `,"state":`...), string(of.Condition))
	if of.LastError != "" {
		b = protocol.AppendString(append(b, `,"lastError":`...), of.LastError)
	}
	for _, at := range []number{{"lastErrorAt", of.LastErrorAt}, {"failingSince", of.Since}, {"retryAt", of.RetryAt}, {"lastDeliveredAt", of.LastDeliveredAt}} {
		if at.n > 0 {
			b = appendNumbers(b, at)
		}
	}
	return append(b, '}')
}

func appendDead(b []byte, letters []group.DeadLetter, next string) []byte {
	b = append(b, `{"messages":[`...)
	for i := range letters {
		l := &letters[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = protocol.AppendString(append(b, `{"id":`...), l.ID)
		b = appendContent(b, l.Channel, &l.Content)
		b = strconv.AppendInt(append(b, `,"publishedAt":`...), l.PublishedAt, 10)
		b = strconv.AppendInt(append(b, `,"deadAt":`...), l.BuriedAt, 10)
		b = strconv.AppendInt(append(b, `,"attempts":`...), int64(l.Attempts), 10)
		b = append(protocol.AppendString(append(b, `,"reason":`...), string(l.Reason)), '}')
	}
	if next == "" {
		return append(b, `],"cursor":null}`...)
	}
	return append(protocol.AppendString(append(b, `],"cursor":`...), api.Cursor(next)), '}')
}
