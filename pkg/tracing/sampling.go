package tracing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"fleetwire/pkg/redact"
)

// samplerFromEnvironment is the sampler of OTEL_TRACES_SAMPLER. The SDK reads that, too, but
// takes its default for what it does not know.
func samplerFromEnvironment() (sdktrace.Sampler, error) {
	const name, argument = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	ratio := 1.0
	if arg := os.Getenv(argument); arg != "" {
		var err error
		if ratio, err = strconv.ParseFloat(arg, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			return nil, fmt.Errorf("%s: %s is not a share; give a number from 0 to 1, as in 0.1", argument, redact.Value(arg))
		}
	}
	switch kind := os.Getenv(name); kind {
	case "always_on":
		return sdktrace.AlwaysSample(), nil
	case "always_off":
		return sdktrace.NeverSample(), nil
	case "traceidratio":
		return sdktrace.TraceIDRatioBased(ratio), nil
	case "", "parentbased_always_on":
		return sdktrace.ParentBased(sdktrace.AlwaysSample()), nil
	case "parentbased_always_off":
		return sdktrace.ParentBased(sdktrace.NeverSample()), nil
	case "parentbased_traceidratio":
		return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio)), nil
	default:
		return nil, fmt.Errorf("%s: %s is no sampler; give always_on, always_off, traceidratio or one of these with parentbased_ before it", name, redact.Value(kind))
	}
}

// ofMessage marks the context in which a message's spans begin. Its value are ids.
type ofMessage struct{}

// ids are those of the span of a message's publishing.
type ids struct {
	trace trace.TraceID
	span  trace.SpanID
}

// sameEverywhere decides on the spans of a message as if each began its trace: by the trace's
// id. So a node that delivers decides as the process did that published.
type sameEverywhere struct{ sdktrace.Sampler }

// ShouldSample is Sampler's.
func (s sameEverywhere) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	if p.ParentContext.Value(ofMessage{}) != nil {
		p.ParentContext = context.Background()
	}
	return s.Sampler.ShouldSample(p)
}

// generator makes random ids, but for the span of a message's publishing.
type generator struct{}

// NewIDs is IDGenerator's, for the first span of a trace.
func (g generator) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if known, ok := ctx.Value(ofMessage{}).(ids); ok {
		return known.trace, known.span
	}
	var id trace.TraceID
	for !id.IsValid() {
		fill(id[:])
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID is IDGenerator's.
func (generator) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		fill(id[:])
	}
	return id
}

func fill(b []byte) {
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
}
