// Package tracing sends OpenTelemetry traces over OTLP: of REST requests, and of those messages
// that tell when they were taken (envelope.TimedEvery). It is off unless the environment names a
// collector, by the variables that OpenTelemetry defines.
package tracing

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// closeTime bounds how long the end of a process waits for a collector.
const closeTime = 2 * time.Second

// Tracer makes spans.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
	incoming propagation.TraceContext
	cutOff   func() // ends what is under way to the collector
}

// FromEnvironment returns the Tracer that the environment asks for: nil, if it names no
// collector, or OTEL_SDK_DISABLED is true. version is that of the program.
func FromEnvironment(ctx context.Context, version string, log *slog.Logger) (*Tracer, error) {
	to, err := collectorFromEnvironment()
	if err != nil || to == nil {
		return nil, err
	}
	sampler, err := samplerFromEnvironment()
	if err != nil {
		return nil, err
	}
	id := instance()
	about, err := resource.New(ctx, resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "fleetwire"), attribute.String("service.version", version), attribute.String("service.instance.id", id)),
		resource.WithFromEnv()) // comes last, so it overrides
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w; write it as in deployment.environment.name=production,team=devices", err)
	}
	exporter, err := otlptrace.New(ctx, to)
	if err != nil {
		return nil, err
	}
	log.Info("traces go to a collector", "url", to.url, "instance", id)
	t := newTracer(sampler, sdktrace.WithResource(about), sdktrace.WithBatcher(&reporting{SpanExporter: exporter, log: log}))
	t.cutOff = to.cutOff
	return t, nil
}

func newTracer(sampler sdktrace.Sampler, more ...sdktrace.TracerProviderOption) *Tracer {
	provider := sdktrace.NewTracerProvider(append(more, sdktrace.WithSampler(sameEverywhere{sampler}), sdktrace.WithIDGenerator(generator{}))...)
	return &Tracer{provider: provider, tracer: provider.Tracer("fleetwire")}
}

// Close exports the spans that there are, for a moment, and ends. A nil Tracer has none.
func (t *Tracer) Close() {
	if t == nil {
		return
	}
	defer t.cutOff()
	defer time.AfterFunc(closeTime, t.cutOff).Stop()
	_ = t.provider.Shutdown(context.Background()) // the exporter has reported why it fails
}

func instance() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	return hex.EncodeToString(id[:])
}
