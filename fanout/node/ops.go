package node

import (
	"fmt"
	"net/http"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/door"
)

// opsServer serves what operators and balancers ask: /healthz (the process
// runs), /readyz (it serves new connections; 503 with the reason while not; further
// lines say when the apps document in force is not the newest, and which master of a
// Redis Cluster does not work) and /metrics.
func (n *Node) opsServer() *door.Ops {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		status, body := http.StatusOK, "ready\n"
		if why := n.notReady(); why != "" {
			status, body = http.StatusServiceUnavailable, "not ready: "+why+"\n"
		}
		// A node with an older document serves better than none: this tells why.
		if stale := n.opt.Apps.Stale(); stale != nil {
			body += fmt.Sprintf("since %s the apps document in force is not the newest: %s\n", stale.Since.UTC().Format(time.RFC3339), stale.Why)
		}
		// The rest is served as ever.
		if why := n.trouble(); why != "" && status == http.StatusOK {
			body += "what needs this master of the redis cluster is refused: " + why + "\n"
		}
		if refused := n.receiver.Refused(); refused != "" {
			body += refused + "\n"
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	})
	mux.Handle("GET /metrics", n.metrics.Handler())
	return door.NewOps(exactPaths(mux), n.opt.Log)
}

// exactPaths answers in the form of protocol §5 what mux does not serve. mux itself
// would answer in plain text, and clean paths by a redirect.
func exactPaths(mux *http.ServeMux) http.Handler {
	fail := func(w http.ResponseWriter, status int, e *protocol.Error) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(protocol.AppendErrorBody(nil, e))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz", "/readyz", "/metrics":
			if r.Method == http.MethodGet || r.Method == http.MethodHead {
				mux.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, protocol.Errorf(protocol.MethodNotAllowed, "%s takes GET, HEAD only", r.URL.Path))
		default:
			fail(w, http.StatusNotFound, protocol.Errorf(protocol.NotFound, "this is a node's operations address: it serves /healthz, /readyz and /metrics"))
		}
	})
}
