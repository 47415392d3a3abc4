package tracing

import (
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Request begins the span of a request. route is the template of its path, "" for none. A request
// with the header traceparent goes on with its caller's trace. end ends the span, with the status
// of the answer.
func (t *Tracer) Request(route string, r *http.Request) (traced *http.Request, end func(status int)) {
	method := knownMethod(r.Method)
	name := method
	if route != "" {
		name += " " + route
	}
	ctx := t.incoming.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("http.request.method", method)))
	if route != "" {
		span.SetAttributes(attribute.String("http.route", route))
	}
	return r.WithContext(ctx), func(status int) {
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(status))
		}
		span.End()
	}
}

// knownMethod is a method that the service has, or the name that OpenTelemetry gives to others. It
// is a copy: the server may use the request's memory again.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodDelete, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodOptions:
		return strings.Clone(method)
	}
	return "_OTHER"
}
