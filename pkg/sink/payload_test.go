package sink_test

import (
	"encoding/json"
	"testing"

	"fleetwire/pkg/sink"
)

func message() sink.Message {
	return sink.Message{
		ID: "NDIxMTc2", App: "app_demo", Group: "crm", Channel: `devices/Küche "1"/events`, From: "device-1",
		FromMetadata: json.RawMessage(`{"name":"Yard"}`), Data: json.RawMessage(`{"motion":true}`), PublishedAt: 1767222000123, Attempt: 2,
	}
}

func TestPayload(t *testing.T) {
	bare := message()
	bare.FromMetadata = nil
	full := message()
	for _, tt := range []struct {
		name        string
		m           sink.Message
		cloudEvents bool
		want        string
	}{
		{"message", full, false, `{"id":"NDIxMTc2","channel":"devices/Küche \"1\"/events","from":"device-1","fromMetadata":{"name":"Yard"},"data":{"motion":true},"publishedAt":1767222000123,"attempt":2}`},
		{"without metadata", bare, false, `{"id":"NDIxMTc2","channel":"devices/Küche \"1\"/events","from":"device-1","data":{"motion":true},"publishedAt":1767222000123,"attempt":2}`},
		{"event", full, true, `{"specversion":"1.0","type":"fleetwire.message","id":"NDIxMTc2","source":"/apps/app_demo/groups/crm/channels/devices%2FK%C3%BCche%20%221%22%2Fevents","subject":"devices/Küche \"1\"/events","time":"2025-12-31T23:00:00.123Z","datacontenttype":"application/json","from":"device-1","frommetadata":"{\"name\":\"Yard\"}","data":{"motion":true},"attempt":2}`},
		{"event without metadata", bare, true, `{"specversion":"1.0","type":"fleetwire.message","id":"NDIxMTc2","source":"/apps/app_demo/groups/crm/channels/devices%2FK%C3%BCche%20%221%22%2Fevents","subject":"devices/Küche \"1\"/events","time":"2025-12-31T23:00:00.123Z","datacontenttype":"application/json","from":"device-1","data":{"motion":true},"attempt":2}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := sink.Payload(&tt.m, tt.cloudEvents)
			if string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !json.Valid(got) {
				t.Error("it is not JSON")
			}
		})
	}
}

func TestPayloadAllocatesOnce(t *testing.T) {
	m := message()
	if n := testing.AllocsPerRun(100, func() { sink.Payload(&m, false) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
