package tracing

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"fleetwire/pkg/redact"
)

// collector sends spans by HTTP, as protobuf (otlptrace.Client). OpenTelemetry's own client for
// it, otlptracehttp, links gRPC and makes a node's binary 17 MB larger.
type collector struct {
	url    string
	header http.Header
	http   *http.Client
	cut    context.Context // ends when nothing more is sent
	cutOff context.CancelFunc
}

// collectorFromEnvironment is the collector of the OTEL_EXPORTER_OTLP_* variables; nil: none.
func collectorFromEnvironment() (*collector, error) {
	to, name := variable("ENDPOINT")
	if to == "" || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%s: %s is no address of a collector; give one as in http://127.0.0.1:4318, and what the collector wants of clients in OTEL_EXPORTER_OTLP_HEADERS", name, redact.Value(to))
	}
	if !strings.Contains(name, "TRACES") {
		u = u.JoinPath("v1/traces")
	}
	c := &collector{url: u.String(), header: http.Header{"Content-Type": {"application/x-protobuf"}}, http: &http.Client{Timeout: 10 * time.Second}}
	if protocol, name := variable("PROTOCOL"); protocol != "" && protocol != "http/protobuf" {
		return nil, fmt.Errorf("%s: %s is not spoken here; give http/protobuf, and the collector's address for it, often with port 4318", name, redact.Value(protocol))
	}
	if timeout, name := variable("TIMEOUT"); timeout != "" {
		ms, err := strconv.Atoi(timeout)
		if err != nil || ms < 1 {
			return nil, fmt.Errorf("%s: %s is no time; give whole milliseconds, as in 10000", name, redact.Value(timeout))
		}
		c.http.Timeout = time.Duration(ms) * time.Millisecond
	}
	headers, name := variable("HEADERS")
	for pair := range strings.SplitSeq(headers, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !ok || key == "" || err != nil {
			return nil, fmt.Errorf("%s: it cannot be read; give names and values as in authorization=Bearer%%20abc,team=devices", name)
		}
		c.header.Set(key, value)
	}
	c.cut, c.cutOff = context.WithCancel(context.Background())
	return c, nil
}

// variable is a setting of the exporter: the one for traces, or that for everything.
func variable(setting string) (value, name string) {
	for _, name = range []string{"OTEL_EXPORTER_OTLP_TRACES_" + setting, "OTEL_EXPORTER_OTLP_" + setting} {
		if value = strings.TrimSpace(os.Getenv(name)); value != "" {
			return value, name
		}
	}
	return "", name
}

// Start is otlptrace.Client's.
func (c *collector) Start(context.Context) error { return nil }

// Stop is otlptrace.Client's.
func (c *collector) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces is otlptrace.Client's.
func (c *collector) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// TracesData is what OTLP's request is, to the byte.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.cut, cancel)()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header = c.header.Clone()
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection is used again
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("the collector at %s answered %s", c.url, response.Status)
	}
	return nil
}

// reporting logs that spans cannot be exported, once until they can be again.
type reporting struct {
	sdktrace.SpanExporter
	log     *slog.Logger
	failing atomic.Bool
}

// ExportSpans is SpanExporter's. It returns no error: the SDK would write it to standard error.
func (e *reporting) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	switch err := e.SpanExporter.ExportSpans(ctx, spans); {
	case err != nil && !e.failing.Swap(true):
		e.log.Warn("the collector does not take traces, which are lost; metrics and logs go on", "err", err)
	case err == nil && e.failing.Swap(false):
		e.log.Info("the collector takes traces again")
	}
	return nil
}
