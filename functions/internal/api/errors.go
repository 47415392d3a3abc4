package api

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fleetwire/clients/go/protocol"
)

// statusError gives a protocol.Error another status than its code's own:
// invalid_request is 413 for a body too large and 415 for one of another type.
type statusError struct {
	status int
	shown  *protocol.Error
}

func (e *statusError) Error() string { return e.shown.Error() }

// detailedError has further members in the body, behind those of every error.
type detailedError struct {
	shown   *protocol.Error
	members []byte
}

func (e *detailedError) Error() string { return e.shown.Error() }

func (e *detailedError) Unwrap() error { return e.shown }

// WithMembers is e with further members in the body: JSON that begins with a comma.
func WithMembers(e *protocol.Error, members []byte) error { return &detailedError{e, members} }

// WriteError answers with err. This is the only place where the control plane
// writes errors, so that they all look alike and none says more than it should:
// of err's chain only a *protocol.Error is shown; without one the answer is 500
// internal_error. Our own failures (5xx) are logged with err.
func WriteError(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	status, shown := describe(err)
	if status >= http.StatusInternalServerError {
		// The path, never the whole URL: query strings can hold credentials.
		log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "status", status, "err", err)
	}
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusUnsupportedMediaType:
		// RFC 9110 §12.5.1 and §12.5.3: in a response, what a next request may send.
		w.Header().Set("Accept", "application/json")
		w.Header().Set("Accept-Encoding", "identity")
	}
	body := protocol.AppendErrorBody(nil, shown)
	if detailed, ok := errors.AsType[*detailedError](err); ok {
		body = append(append(body[:len(body)-1], detailed.members...), '}')
	}
	Write(w, status, body)
}

func describe(err error) (status int, shown *protocol.Error) {
	if e, ok := errors.AsType[*statusError](err); ok {
		return e.status, e.shown
	}
	if e, ok := errors.AsType[*protocol.Error](err); ok {
		return e.Code.HTTPStatus(), e
	}
	e := protocol.Errorf(protocol.InternalError, "something went wrong on our side; it was logged")
	return http.StatusInternalServerError, e
}

// NotFound is the error for an unknown path.
func NotFound(routes ...Route) error {
	known := make([]string, len(routes))
	for i, rt := range routes {
		known[i] = rt.String()
	}
	return protocol.Errorf(protocol.NotFound, "nothing is served at this path; there is %s", strings.Join(known, ", "))
}

// SetRetryAfter sets the Retry-After header to d in whole seconds, rounded up,
// and at least 1: a caller that is told 0 would be back at once.
func SetRetryAfter(w http.ResponseWriter, d time.Duration) {
	seconds := int64(d / time.Second)
	if d%time.Second > 0 {
		seconds++
	}
	w.Header().Set("Retry-After", strconv.FormatInt(max(seconds, 1), 10))
}
