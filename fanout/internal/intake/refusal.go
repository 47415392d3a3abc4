package intake

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"fleetwire/clients/go/protocol"
)

// refusal is an answer that ends the connection.
type refusal struct {
	status int
	shown  *protocol.Error
}

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status, protocol.Errorf(protocol.InvalidRequest, format, args...)}
}

// malformed refuses what is not HTTP/1.x.
func malformed(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, format, args...)
}

// busy refuses what a budget has no room for.
func busy(format string, args ...any) *refusal {
	return &refusal{http.StatusServiceUnavailable, protocol.Errorf(protocol.BackendError, format, args...)}
}

// retryAfter is when a client that met a full budget may try again, in seconds.
const retryAfter = 1

// answer is the whole response.
func (r *refusal) answer(now time.Time) []byte {
	body := protocol.AppendErrorBody(nil, r.shown)
	head := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n",
		r.status, http.StatusText(r.status), now.UTC().Format(http.TimeFormat), len(body))
	if r.status == http.StatusServiceUnavailable {
		head = append(head, "Retry-After: "+strconv.Itoa(retryAfter)+"\r\n"...)
	}
	return append(append(head, "\r\n"...), body...)
}
