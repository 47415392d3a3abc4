package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/publish"
)

// A message's trace has one span of its publishing and one of each node that has connections
// which get it. Its ids come from the message's own id, which travels with it, so no message is
// longer for it.

// idsOf are the ids of the span of a message's publishing.
func idsOf(id envelope.ID) (known ids) {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64([]byte("fleetwire"), id.Process), id.Sequence))
	copy(known.trace[:], sum[:16])
	copy(known.span[:], sum[16:24])
	return known
}

// Published makes the span of a message's publishing: from when the process took it until
// Redis's answer (publish.Options.Trace).
func (t *Tracer) Published(m publish.Traced) {
	ctx := context.WithValue(context.Background(), ofMessage{}, idsOf(m.ID))
	_, span := t.tracer.Start(ctx, "publish", trace.WithSpanKind(trace.SpanKindProducer), trace.WithTimestamp(m.TakenAt),
		trace.WithAttributes(about("publish", "send", m.App, destination(m.Channel, m.To))...))
	if span.IsRecording() {
		span.SetAttributes(attribute.String("fleetwire.from", m.From), attribute.Int("messaging.message.body.size", m.Bytes))
		if m.Err != nil {
			span.SetAttributes(attribute.String("error.type", string(m.Err.Code)))
			span.SetStatus(codes.Error, string(m.Err.Code))
		}
	}
	span.End()
}

// Delivered makes the span of a message on a node that delivers it: from began, when the node
// came to it, until it is written to the last of so many connections.
func (t *Tracer) Delivered(d *envelope.Delivery, began time.Time, connections int) {
	known := idsOf(d.ID)
	ctx := context.WithValue(context.Background(), ofMessage{}, known)
	ctx = trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: known.trace, SpanID: known.span, Remote: true}))
	channel, to := d.Channel, ""
	if d.Kind == envelope.KindPeer {
		channel, to = "", d.Channel
	}
	_, span := t.tracer.Start(ctx, "deliver", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithTimestamp(began),
		trace.WithAttributes(append(about("deliver", "process", strings.Clone(d.App), destination(strings.Clone(channel), strings.Clone(to))), attribute.Int("fleetwire.connections", connections))...))
	span.End()
}

// destination is the attribute for where a message goes: a channel, or a peer.
func destination(channel, peer string) attribute.KeyValue {
	if peer != "" {
		return attribute.String("fleetwire.to", peer)
	}
	return attribute.String("messaging.destination.name", channel)
}

// about are the attributes of all spans of messages.
func about(name, kind, app string, destination attribute.KeyValue) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("messaging.system", "fleetwire"), attribute.String("messaging.operation.name", name), attribute.String("messaging.operation.type", kind),
		attribute.String("fleetwire.app", app), destination,
	}
}
