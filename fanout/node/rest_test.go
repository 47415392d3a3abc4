package node

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A request that is under way when the node is told to stop gets its answer, and
// then nobody is let in any more.
func TestRequestUnderWayOutlivesTheDrain(t *testing.T) {
	r := prepare(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	r.MountControlPlane(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		_, _ = io.WriteString(w, "done")
	}))
	r.run()
	r.awaitReady()
	type answer struct {
		status int
		body   string
	}
	answered := make(chan answer, 1)
	go func() {
		status, _, body := r.request("POST", "http://"+r.Addr()+"/v1/tokens", nil)
		answered <- answer{status, body}
	}()
	<-begun
	r.stop()
	// The listener closes while the request goes on.
	eventually(t, "closed to newcomers", func() bool {
		conn, err := net.Dial("tcp", r.Addr())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	close(finish)
	if a := <-answered; a.status != 200 || a.body != "done" {
		t.Errorf("%d %q, want 200 done", a.status, a.body)
	}
	if log := r.log.String(); !strings.Contains(log, "draining") {
		t.Errorf("the log lacks the drain:\n%s", log)
	}
}

// While connections are drained, answers say that the connection ends; before that
// they don't.
func TestAnswersEndTheirConnectionsInADrain(t *testing.T) {
	r := prepare(t)
	h := r.leavingWhileDraining(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "served")
	}))
	for _, draining := range []bool{false, true} {
		r.draining.Store(draining)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("POST", "/v1/tokens", nil))
		if closes := w.Header().Get("Connection") == "close"; closes != draining || w.Body.String() != "served" {
			t.Errorf("draining %v: Connection %q, body %q", draining, w.Header().Get("Connection"), w.Body)
		}
	}
	_ = r.listener.Close()
	_ = r.opsListener.Close()
}
