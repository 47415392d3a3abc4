package tracing

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish"
)

func TestMain(m *testing.M) {
	for _, v := range os.Environ() { // what the tests run in must not matter
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "OTEL_") {
			os.Unsetenv(name)
		}
	}
	goleak.VerifyTestMain(m)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func setenv(t *testing.T, variables string) {
	for v := range strings.FieldsSeq(variables) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv("OTEL_"+name, value)
	}
}

func TestOffUnlessAsked(t *testing.T) {
	for _, variables := range []string{
		"", "TRACES_SAMPLER=always_on", "EXPORTER_OTLP_ENDPOINT=",
		"EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 SDK_DISABLED=true", "EXPORTER_OTLP_METRICS_ENDPOINT=http://127.0.0.1:4318",
	} {
		t.Run(variables, func(t *testing.T) {
			setenv(t, variables)
			tracer, err := FromEnvironment(t.Context(), "v1", discard())
			if tracer != nil || err != nil {
				t.Errorf("%v, %v", tracer, err)
			}
			tracer.Close()
		})
	}
}

func TestBadSettings(t *testing.T) {
	const at = "EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 "
	for variables, want := range map[string]string{
		"EXPORTER_OTLP_ENDPOINT=127.0.0.1:4318":           `OTEL_EXPORTER_OTLP_ENDPOINT: "127.0.…" (14 bytes) is no address of a collector; give one as in http://127.0.0.1:4318`,
		"EXPORTER_OTLP_TRACES_ENDPOINT=grpc://c:4317":     `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "grpc:/…" (13 bytes) is no address`,
		"EXPORTER_OTLP_ENDPOINT=http://me:secret@c:4318":  "OTEL_EXPORTER_OTLP_HEADERS",
		at + "EXPORTER_OTLP_PROTOCOL=grpc":                `OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" is not spoken here; give http/protobuf`,
		at + "EXPORTER_OTLP_TRACES_PROTOCOL=http/json":    `OTEL_EXPORTER_OTLP_TRACES_PROTOCOL: "http/json" is not spoken`,
		at + "EXPORTER_OTLP_TIMEOUT=10s":                  `OTEL_EXPORTER_OTLP_TIMEOUT: "10s" is no time; give whole milliseconds`,
		at + "EXPORTER_OTLP_HEADERS=secret-without-value": "OTEL_EXPORTER_OTLP_HEADERS: it cannot be read; give names and values as in authorization=Bearer%20abc",
		at + "TRACES_SAMPLER=sometimes":                   `OTEL_TRACES_SAMPLER: "sometimes" is no sampler; give always_on`,
		at + "TRACES_SAMPLER_ARG=10%":                     `OTEL_TRACES_SAMPLER_ARG: "10%" is not a share; give a number from 0 to 1`,
		at + "TRACES_SAMPLER_ARG=NaN":                     `is not a share`,
		at + "RESOURCE_ATTRIBUTES=production":             "OTEL_RESOURCE_ATTRIBUTES: ",
	} {
		t.Run(variables, func(t *testing.T) {
			setenv(t, variables)
			tracer, err := FromEnvironment(t.Context(), "v1", discard())
			if tracer != nil || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// message is what tells of a message that was taken.
func message(n uint64) (envelope.ID, time.Time) {
	id := envelope.ID{Process: 7, Sequence: envelope.Number(n*envelope.TimedEvery, time.Now)}
	at, _ := id.TakenAt()
	return id, at
}

// A node that delivers a message traces it exactly if the process did that published it, and in
// the same trace.
func TestAllDecideAlike(t *testing.T) {
	for name, want := range map[string][2]int{"always_on": {300, 300}, "always_off": {0, 0}, "parentbased_always_on": {300, 300}, "traceidratio": {100, 200}, "parentbased_traceidratio": {100, 200}} {
		t.Run(name, func(t *testing.T) {
			setenv(t, "TRACES_SAMPLER="+name+" TRACES_SAMPLER_ARG=0.5")
			sampler, err := samplerFromEnvironment()
			if err != nil {
				t.Fatal(err)
			}
			here, there := tracetest.NewInMemoryExporter(), tracetest.NewInMemoryExporter()
			publisher, node := newTracer(sampler, sdktrace.WithSyncer(here)), newTracer(sampler, sdktrace.WithSyncer(there))
			for n := range uint64(300) {
				id, at := message(n)
				publisher.Published(publish.Traced{ID: id, TakenAt: at, App: "app", Channel: "devices/1", From: "cam", Bytes: 2})
				node.Delivered(&envelope.Delivery{ID: id, App: "app", Channel: "devices/1"}, time.Now(), 3)
			}
			published, delivered := here.GetSpans(), there.GetSpans()
			if len(published) != len(delivered) || len(published) < want[0] || len(published) > want[1] {
				t.Fatalf("%d were published and %d delivered in traces, want %d to %d", len(published), len(delivered), want[0], want[1])
			}
			for i, p := range published {
				d := delivered[i]
				if d.SpanContext.TraceID() != p.SpanContext.TraceID() || d.Parent.SpanID() != p.SpanContext.SpanID() || !d.Parent.IsRemote() || p.Parent.IsValid() || d.SpanContext.SpanID() == p.SpanContext.SpanID() {
					t.Fatalf("published %+v, delivered %+v", p, d)
				}
			}
		})
	}
}

func TestSpansOfMessages(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	tracer := newTracer(sdktrace.AlwaysSample(), sdktrace.WithSyncer(spans))
	id, at := message(1)
	tracer.Published(publish.Traced{ID: id, TakenAt: at, App: "app", Channel: "devices/1", From: "cam", Bytes: 12})
	tracer.Published(publish.Traced{ID: id, TakenAt: at, App: "app", To: "cam", From: "server", Err: protocol.Errorf(protocol.PeerNotFound, "SEKRIT")})
	tracer.Delivered(&envelope.Delivery{ID: id, App: "app", Channel: "cam", Kind: envelope.KindPeer}, at.Add(time.Millisecond), 2)
	want := []string{
		"publish producer Unset  messaging.system=fleetwire messaging.operation.name=publish messaging.operation.type=send fleetwire.app=app messaging.destination.name=devices/1 fleetwire.from=cam messaging.message.body.size=12",
		"publish producer Error peer_not_found messaging.system=fleetwire messaging.operation.name=publish messaging.operation.type=send fleetwire.app=app fleetwire.to=cam fleetwire.from=server messaging.message.body.size=0 error.type=peer_not_found",
		"deliver consumer Unset  messaging.system=fleetwire messaging.operation.name=deliver messaging.operation.type=process fleetwire.app=app fleetwire.to=cam fleetwire.connections=2",
	}
	for i, got := range spans.GetSpans() {
		if text := show(got); text != want[i] {
			t.Errorf("span %d:\ngot  %s\nwant %s", i, text, want[i])
		}
	}
	if got := spans.GetSpans(); len(got) != 3 || !got[0].StartTime.Equal(at) || !got[2].StartTime.Equal(at.Add(time.Millisecond)) {
		t.Errorf("got %+v", got)
	}
}

func show(s tracetest.SpanStub) string {
	text := s.Name + " " + s.SpanKind.String() + " " + s.Status.Code.String() + " " + s.Status.Description
	for _, a := range s.Attributes {
		text += " " + string(a.Key) + "=" + a.Value.String()
	}
	return text
}

func TestRequests(t *testing.T) {
	const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, tt := range map[string]struct {
		route, method, traceparent string
		status                     int
		want                       string
	}{
		"a route":          {"/v1/tokens", "POST", "", 200, "POST /v1/tokens server Unset  http.request.method=POST http.route=/v1/tokens http.response.status_code=200"},
		"refused":          {"/v1/tokens", "POST", "", 401, "POST /v1/tokens server Unset  http.request.method=POST http.route=/v1/tokens http.response.status_code=401"},
		"fails":            {"/v1/tokens", "POST", "", 503, "POST /v1/tokens server Error Service Unavailable http.request.method=POST http.route=/v1/tokens http.response.status_code=503"},
		"no route":         {"", "GET", "", 404, "GET server Unset  http.request.method=GET http.response.status_code=404"},
		"a strange method": {"", "BREW", "", 404, "_OTHER server Unset  http.request.method=_OTHER http.response.status_code=404"},
		"of a trace":       {"/v1/usage", "GET", caller, 200, "GET /v1/usage server Unset  http.request.method=GET http.route=/v1/usage http.response.status_code=200"},
		"not sampled":      {"/v1/usage", "GET", strings.TrimSuffix(caller, "1") + "0", 200, ""},
		"a broken trace":   {"/v1/usage", "GET", "00-xyz", 200, "GET /v1/usage server Unset  http.request.method=GET http.route=/v1/usage http.response.status_code=200"},
	} {
		t.Run(name, func(t *testing.T) {
			spans := tracetest.NewInMemoryExporter()
			tracer := newTracer(sdktrace.ParentBased(sdktrace.AlwaysSample()), sdktrace.WithSyncer(spans))
			r := httptest.NewRequest(tt.method, "/v1/x?secret=SEKRIT", nil)
			if tt.traceparent != "" {
				r.Header.Set("traceparent", tt.traceparent)
			}
			traced, end := tracer.Request(tt.route, r)
			if got := trace.SpanFromContext(traced.Context()); got.IsRecording() != (tt.want != "") {
				t.Errorf("the request has the span %v", got)
			}
			end(tt.status)
			got := spans.GetSpans()
			if tt.want == "" && len(got) == 0 {
				return
			}
			if len(got) != 1 || show(got[0]) != tt.want {
				t.Fatalf("got %+v, want %s", got, tt.want)
			}
			if continues := got[0].Parent.IsRemote(); continues != (tt.traceparent == caller) || continues && got[0].SpanContext.TraceID().String() != caller[3:35] {
				t.Errorf("it goes on with %+v", got[0].Parent)
			}
		})
	}
}

// A collector that hangs holds up neither what is traced nor the end of the process for long; the
// log says once that one fails.
func TestCollectorsThatFail(t *testing.T) {
	t.Run("hangs", func(t *testing.T) {
		asked, release := make(chan bool, 100), make(chan bool)
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- true; <-release }))
		defer server.Close()
		defer close(release)
		setenv(t, "EXPORTER_OTLP_ENDPOINT="+server.URL+" BSP_SCHEDULE_DELAY=1")
		tracer, err := FromEnvironment(t.Context(), "v1", discard())
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint64(10_000) { // more than wait for the collector
			id, at := message(n)
			tracer.Published(publish.Traced{ID: id, TakenAt: at})
		}
		<-asked
		tracer.Close() // while it hangs
	})
	t.Run("fails", func(t *testing.T) {
		answers := make(chan int, 100)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(<-answers) }))
		defer server.Close()
		setenv(t, "EXPORTER_OTLP_TRACES_ENDPOINT="+server.URL+"/spans")
		var text strings.Builder
		to, err := collectorFromEnvironment()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = to.Stop(context.Background()) }()
		exporter := &reporting{SpanExporter: uploads{to}, log: slog.New(slog.NewTextHandler(&text, nil))}
		for _, status := range []int{500, 503, 200, 202, 400} {
			answers <- status
			if err := exporter.ExportSpans(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
		var lines []string
		for line := range strings.Lines(text.String()) {
			_, line, _ = strings.Cut(line, "level=")
			lines = append(lines, strings.TrimSpace(strings.ReplaceAll(line, server.URL, "URL")))
		}
		const failing = `WARN msg="the collector does not take traces, which are lost; metrics and logs go on" err="the collector at URL/spans answered `
		if got, want := strings.Join(lines, "\n"), failing+"500 Internal Server Error\"\nINFO msg=\"the collector takes traces again\"\n"+failing+`400 Bad Request"`; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// uploads uploads nothing, each time.
type uploads struct{ *collector }

func (u uploads) ExportSpans(ctx context.Context, _ []sdktrace.ReadOnlySpan) error {
	return u.UploadTraces(ctx, nil)
}
func (uploads) Shutdown(context.Context) error { return nil }
