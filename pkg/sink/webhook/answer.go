package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fleetwire/pkg/sink"
)

// judge is what an answer says of a batch.
func (t *Target) judge(response *http.Response) error {
	code := response.StatusCode
	said := "the endpoint answered " + status(code)
	switch code {
	case http.StatusGone:
		return sink.ErrGone
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return &sink.Unavailable{Reason: said, RetryAfter: retryAfter(response.Header.Get("Retry-After"), t.now())}
	case http.StatusRequestTimeout, http.StatusBadGateway, http.StatusGatewayTimeout:
		return &sink.Unavailable{Reason: said}
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired:
		// The endpoint, or its URL, is set up wrong: no message is to die of that.
		return &sink.Unavailable{Reason: said + "; check the sink's url, and that the endpoint knows its secrets"}
	}
	switch {
	case code/100 == 2:
		return nil
	case code/100 == 3 && t.follow:
		return &sink.Unavailable{Reason: fmt.Sprintf("%s; only 307 and 308 are followed, at most %d times", said, maxRedirects)}
	case code/100 == 3:
		return &sink.Unavailable{Reason: said + "; give the URL that it redirects to, or set followRedirects"}
	}
	return &sink.Refused{Reason: said}
}

// status is "400 Bad Request", in our words: the endpoint's own could be anything.
func status(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}

// retryAfter reads seconds or a date (RFC 9110 §10.2.3). 0: it says nothing.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// unreachable is what an error of the client says of a batch. It leaves the URL out, which may
// have a secret in it.
func (t *Target) unreachable(parent context.Context, err error) error {
	var (
		refused *addressError
		ofURL   *url.Error
		ofName  *net.DNSError
		network *net.OpError
	)
	switch {
	case errors.As(err, &refused):
		return &sink.Unavailable{Reason: refused.Error()}
	case errors.Is(parent.Err(), context.Canceled):
		return &sink.Unavailable{Reason: "the delivery ended before the endpoint had answered"}
	case errors.Is(err, context.DeadlineExceeded):
		return &sink.Unavailable{Reason: fmt.Sprintf("the endpoint did not answer within %s", t.timeout)}
	case errors.As(err, &ofName):
		return &sink.Unavailable{Reason: "the endpoint's name cannot be resolved: " + ofName.Err}
	case errors.As(err, &network):
		return &sink.Unavailable{Reason: fmt.Sprintf("the endpoint cannot be reached: %s: %v", network.Op, network.Err)}
	case errors.As(err, &ofURL):
		err = ofURL.Err
	}
	if strings.HasPrefix(err.Error(), "failed to parse Location header") { // net/http quotes it
		return &sink.Unavailable{Reason: "the endpoint redirects to something that is not a URL"}
	}
	return &sink.Unavailable{Reason: "the endpoint cannot be reached: " + err.Error()}
}
