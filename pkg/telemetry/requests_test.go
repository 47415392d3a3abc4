package telemetry

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// What callers make up becomes no label.
func TestCountRequests(t *testing.T) {
	m := NewMetrics()
	count := m.CountRequests()
	count("/v1/peers/{peer}", "DELETE", 200, 3*time.Millisecond)
	count("/v1/peers/{peer}", "DELETE", 404, time.Millisecond)
	count("", "GET", 404, time.Millisecond)
	for _, method := range []string{"BREW", "get", "", "X{}\n"} {
		count("", method, 405, time.Millisecond)
	}
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{
		`fleetwire_http_requests_total{method="DELETE",route="/v1/peers/{peer}",status="200"} 1`,
		`fleetwire_http_requests_total{method="DELETE",route="/v1/peers/{peer}",status="404"} 1`,
		`fleetwire_http_requests_total{method="GET",route="none",status="404"} 1`,
		`fleetwire_http_requests_total{method="other",route="none",status="405"} 4`,
		`fleetwire_http_request_seconds_bucket{method="DELETE",route="/v1/peers/{peer}",le="0.0025"} 1`,
		`fleetwire_http_request_seconds_count{method="DELETE",route="/v1/peers/{peer}"} 2`,
	} {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("lacks %s in\n%s", line, w.Body)
		}
	}
	// A request costs no memory once its labels are known: the door is busy.
	if n := testing.AllocsPerRun(100, func() { count("/v1/tokens", "POST", 200, time.Millisecond) }); n > 1 {
		t.Errorf("%v allocations a request", n)
	}
}
