package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn/redistest"
)

// collector is an OpenTelemetry collector that keeps spans.
type collector struct {
	url string

	mu     sync.Mutex
	spans  []spanOf
	faults []string
}

// spanOf is a span with the name of the service that has exported it.
type spanOf struct {
	*tracepb.Span
	service string
}

func startCollector(t *testing.T) *collector {
	c := &collector{}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *collector) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var sent tracepb.TracesData
	if err == nil {
		err = proto.Unmarshal(body, &sent)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || r.Method != "POST" || r.URL.Path != "/v1/traces" || r.Header.Get("Content-Type") != "application/x-protobuf" || r.Header.Get("Authorization") != "Bearer of traces" {
		c.faults = append(c.faults, fmt.Sprint(r.Method, " ", r.URL, " ", r.Header, " ", err))
	}
	for _, of := range sent.ResourceSpans {
		service := ""
		for _, a := range of.Resource.Attributes {
			if a.Key == "service.name" {
				service = a.Value.GetStringValue()
			}
		}
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, spanOf{s, service})
			}
		}
	}
}

func (c *collector) named(name string) (found []spanOf) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if s.Name == name {
			found = append(found, s)
		}
	}
	return found
}

func (s spanOf) attribute(name string) string {
	for _, a := range s.Attributes {
		if a.Key == name {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// One message in 64 has a trace, from the node that published it to the one that delivered it;
// a REST request has one of its own, or its caller's.
func TestTraces(t *testing.T) {
	c := startCollector(t)
	key := newKey("traced", "**")
	app := newApp("app_traced", key)
	redis := redistest.Start(t)
	nodes := map[string]*node{}
	for _, name := range []string{"here", "there"} {
		_, nodes[name] = fanout(t, []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20of%20traces", "OTEL_SERVICE_NAME=" + name, "OTEL_BSP_SCHEDULE_DELAY=10",
		}, "-apps", documentFile(t, app), "-redis", redis.URL(), "-control-plane")
	}
	device, watcher := nodes["here"].connect(t, key.token("cam", nil)), nodes["there"].connect(t, key.token("watcher", nil)).subscribe("devices/*")
	for n := range envelope.TimedEvery {
		device.publish("devices/1", fmt.Sprint(n))
		watcher.expectMessage("devices/1", "cam", fmt.Sprint(n))
	}
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	a, err := nodes["there"].call("GET", "/v1/usage", key.credential(), "", "traceparent", "00-"+trace+"-"+parent+"-01")
	if err != nil || a.status != 200 {
		t.Fatalf("%+v, %v", a, err)
	}
	eventually(t, "the collector has a message's spans and a request's", patience, func() bool {
		return len(c.named("publish")) > 0 && len(c.named("deliver")) > 0 && len(c.named("GET /v1/usage")) > 0
	})
	published, delivered, asked := c.named("publish"), c.named("deliver"), c.named("GET /v1/usage")
	if len(published) != 1 || len(delivered) != 1 || len(asked) != 1 || len(c.faults) > 0 {
		t.Fatalf("published %v, delivered %v, asked %v, faults %q", published, delivered, asked, c.faults)
	}
	p, d, q := published[0], delivered[0], asked[0]
	if string(p.TraceId) != string(d.TraceId) || string(d.ParentSpanId) != string(p.SpanId) || len(p.ParentSpanId) > 0 || p.service != "here" || d.service != "there" {
		t.Errorf("published %+v, delivered %+v", p, d)
	}
	if p.attribute("messaging.destination.name") != "devices/1" || p.attribute("fleetwire.from") != "cam" || p.attribute("fleetwire.app") != app.ID {
		t.Errorf("published %+v", p)
	}
	if fmt.Sprintf("%x %x", q.TraceId, q.ParentSpanId) != trace+" "+parent || q.service != "there" {
		t.Errorf("asked %+v", q)
	}
}
