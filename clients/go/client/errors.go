package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fleetwire/clients/go/protocol"
)

var (
	// ErrClosed is what a Client's methods return after Close.
	ErrClosed = errors.New("client: closed")

	// ErrConnectionLost: the connection ended after the frame was handed to it and
	// before the answer came. Whether it was done is not known.
	ErrConnectionLost = errors.New("client: the connection ended before the answer came")

	// ErrNotConnected is PublishNoAck's, when there is no connection.
	ErrNotConnected = errors.New("client: not connected")

	// ErrNotService: a request was answered with 200, but not with the service's JSON. Something
	// else is at the URL.
	ErrNotService = errors.New("the answer is not the service's JSON; is the URL right?")

	// ErrTooLarge: the frame would be over the service's bound (64 KiB, protocol
	// §4.2), the data of a will or an answer over 4 KiB, or the request's body over its
	// bound (32 KiB, 128 KiB to mint, 256 KiB to publish many, §5). Nothing was sent.
	ErrTooLarge = errors.New("client: too large")
)

// Error is what the service refused, in an error frame (protocol §4.4) or in the
// answer to a request (§5). Names that break the rules are refused without asking
// the service, with the code that it would have answered.
type Error struct {
	Code       protocol.Code // "" when a request was answered by something else than the service, say a proxy
	Message    string        // for people
	Status     int           // of an HTTP answer; else 0
	RetryAfter time.Duration // what an HTTP answer asked for; else 0
	// Outcome of a backend_error: with protocol.OutcomeNone nothing was done, and
	// another try is safe; with protocol.OutcomeUnknown it may have been done, and
	// another try may do it twice. "" with every other code.
	Outcome protocol.Outcome
	// Position, of an offset_mismatch, is the channel's newest one; else nil. Newest is the
	// message there, if the answer has it: that of REST.PublishMessage, for a key that may
	// subscribe.
	Position *Position
	Newest   *Message
}

// Error is for people.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Status != 0 {
		fmt.Fprintf(&b, "HTTP %d: ", e.Status)
	}
	if e.Code != "" {
		fmt.Fprintf(&b, "%s: ", e.Code)
	}
	b.WriteString(e.Message)
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, " (try again in %v)", e.RetryAfter)
	}
	return b.String()
}

// Is makes errors.Is(err, &client.Error{Code: c}) true for every Error of code c.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code != "" && *t == Error{Code: e.Code}
}

// CodeOf is the code of the Error in err's chain, "" without one.
func CodeOf(err error) protocol.Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// CloseCodeOf is the code of the close frame with which the service ended the
// connection, from the *protocol.CloseError in err's chain; 0 without one.
func CloseCodeOf(err error) protocol.CloseCode {
	if e, ok := errors.AsType[*protocol.CloseError](err); ok {
		return e.Code
	}
	return 0
}

// maxAnswerBytes is read of an HTTP answer that is a refusal, and not more.
const maxAnswerBytes = 1 << 20

// refusal makes an Error of an HTTP answer that is no success.
func refusal(status int, header http.Header, body io.Reader) *Error {
	e := &Error{Status: status, RetryAfter: retryAfter(header.Get("Retry-After"), time.Now())}
	text, _ := io.ReadAll(io.LimitReader(body, maxAnswerBytes)) // what can't be read is not ours
	var answer refused
	if err := json.Unmarshal(text, &answer); err == nil && answer.Error != "" {
		answer.describe(e)
	} else {
		e.Message = "an answer that is not the service's; is the URL right?"
	}
	return e
}

// refused is an error as REST writes it (protocol §5).
type refused struct {
	Error   protocol.Code
	Message string
	Outcome protocol.Outcome
	Epoch   string
	Offset  uint64
	Newest  *keptMessage
}

// position is nil if the answer has none.
func (r *refused) position() *Position {
	if r.Epoch == "" {
		return nil
	}
	return &Position{Epoch: r.Epoch, Offset: r.Offset}
}

func (r *refused) describe(e *Error) {
	e.Code, e.Message, e.Outcome = r.Error, r.Message, r.Outcome
	if e.Position = r.position(); e.Position != nil && r.Newest != nil {
		m := r.Newest.message("", r.Epoch)
		e.Newest = &m
	}
}

// retryAfter reads a Retry-After header (RFC 9110 §10.2.3).
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, at.Sub(now))
	}
	return 0
}
