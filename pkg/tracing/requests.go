package tracing

import (
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Request makes a span of each request that h answers. route is the template of its path, ""
// for none. A request with the header traceparent goes on with its caller's trace.
func (t *Tracer) Request(route string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := knownMethod(r.Method)
		name := method
		if route != "" {
			name += " " + route
		}
		ctx := t.incoming.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("http.request.method", method)))
		defer span.End()
		if !span.IsRecording() {
			h.ServeHTTP(w, r)
			return
		}
		if route != "" {
			span.SetAttributes(attribute.String("http.route", route))
		}
		answer := &answer{ResponseWriter: w, status: http.StatusOK}
		h.ServeHTTP(answer, r.WithContext(ctx))
		span.SetAttributes(attribute.Int("http.response.status_code", answer.status))
		if answer.status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, http.StatusText(answer.status))
		}
	})
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

// answer remembers the status that is written through it.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
