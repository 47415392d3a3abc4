package sink

import (
	"net/url"
	"strconv"
	"time"

	"fleetwire/clients/go/protocol"
)

// Payload is a message as JSON, as targets get it: as it is (protocol §10.4), or as an event of
// CloudEvents 1.0 (https://cloudevents.io) in its structured form.
func Payload(m *Message, cloudEvents bool) []byte {
	b := make([]byte, 0, 320+2*len(m.Channel)+len(m.From)+2*len(m.FromMetadata)+len(m.Data))
	if cloudEvents {
		return appendEvent(b, m)
	}
	b = append(b, `{"id":`...)
	b = protocol.AppendString(b, m.ID)
	b = append(b, `,"channel":`...)
	b = protocol.AppendString(b, m.Channel)
	b = append(b, `,"from":`...)
	b = protocol.AppendString(b, m.From)
	if len(m.FromMetadata) > 0 {
		b = append(b, `,"fromMetadata":`...)
		b = append(b, m.FromMetadata...)
	}
	b = append(b, `,"data":`...)
	b = append(b, m.Data...)
	b = append(b, `,"publishedAt":`...)
	b = strconv.AppendInt(b, m.PublishedAt, 10)
	return appendAttempt(b, m)
}

// appendEvent appends the event. An id is unique in its group, so the source names the group.
// The values of extension attributes are no JSON objects, so the sender's metadata is a text.
func appendEvent(b []byte, m *Message) []byte {
	b = append(b, `{"specversion":"1.0","type":"fleetwire.message","id":`...)
	b = protocol.AppendString(b, m.ID)
	b = append(b, `,"source":`...)
	b = protocol.AppendString(b, "/apps/"+m.App+"/groups/"+m.Group+"/channels/"+url.PathEscape(m.Channel))
	b = append(b, `,"subject":`...)
	b = protocol.AppendString(b, m.Channel)
	b = append(b, `,"time":"`...)
	b = time.UnixMilli(m.PublishedAt).UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = append(b, `","datacontenttype":"application/json","from":`...)
	b = protocol.AppendString(b, m.From)
	if len(m.FromMetadata) > 0 {
		b = append(b, `,"frommetadata":`...)
		b = protocol.AppendString(b, string(m.FromMetadata))
	}
	b = append(b, `,"data":`...)
	b = append(b, m.Data...)
	return appendAttempt(b, m)
}

func appendAttempt(b []byte, m *Message) []byte {
	b = append(b, `,"attempt":`...)
	b = strconv.AppendInt(b, int64(m.Attempt), 10)
	return append(b, '}')
}
