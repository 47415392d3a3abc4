package door

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"github.com/valyala/fasthttp"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/intake"
	"fleetwire/pkg/auth"
)

// answer makes the handler of all requests: GET /v1 is sockets', everything else
// the control plane's, if there is one.
func (d *Door) answer(sockets fasthttp.RequestHandler) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		defer recoverRequest(ctx, d.Log)
		path, query := splitTarget(string(ctx.Request.Header.RequestURI()))
		switch {
		case isSocketPath(path) && ctx.IsGet():
			sockets(ctx)
		case isSocketPath(path) && ctx.IsHead():
			notAnUpgrade(ctx)
		case isSocketPath(path):
			ctx.Response.Header.Set("Allow", "GET, HEAD")
			writeError(ctx, http.StatusMethodNotAllowed, protocol.Errorf(protocol.MethodNotAllowed, "/v1 takes GET, HEAD only, and connects by a GET that upgrades to WebSocket"))
		case d.rest == nil:
			writeError(ctx, http.StatusNotFound, protocol.Errorf(protocol.NotFound, "this is a fan-out node: it serves the WebSocket at /v1 and no REST, which -control-plane would add"))
		default:
			serveHTTP(d.rest, ctx, path, query, streams{d.Log, d.app.Server().WriteTimeout})
		}
	}
}

func isSocketPath(path string) bool { return path == "/v1" || path == "/v1/" }

// notAnUpgrade answers a request to the socket's path that does not upgrade.
func notAnUpgrade(ctx *fasthttp.RequestCtx) {
	ctx.Response.Header.Set("Upgrade", "websocket")
	writeError(ctx, http.StatusUpgradeRequired, protocol.Errorf(protocol.InvalidRequest, "this is a WebSocket endpoint: connect with ws:// or wss:// and ?token= or ?key="))
}

// splitTarget takes a request's target apart, and leaves escapes as they are. The
// target may be a whole URL (RFC 9112 §3.2.2).
func splitTarget(target string) (path, query string) {
	path, query, _ = strings.Cut(target, "?")
	if _, rest, ok := strings.Cut(path, "://"); ok && path[0] != '/' {
		_, rest, _ = strings.Cut(rest, "/")
		path = "/" + rest
	}
	return path, query
}

// beforeBody decides whether a request's body is read. Without a control plane and
// without a secret key, or a session of the console, it is not: the answer comes at once, and the connection
// closes. Too long a body is refused in the same way, by its Content-Length.
func (d *Door) beforeBody(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	length := h.ContentLength() // -1: chunked, -2: none
	path, _ := splitTarget(string(h.RequestURI()))
	most := mostBody(path)
	if (length > 0 || length == -1) && (length > most || !d.readsBody(h, path)) {
		leaveBody(h)
	}
	return fasthttp.RequestConfig{MaxRequestBodySize: most}
}

// consoleAPI comes before the path of a route in a request of the console's page.
const consoleAPI = "/console/api"

// mostBody is how many bytes of a body are read that comes to a path.
func mostBody(path string) int {
	if strings.TrimSuffix(strings.TrimPrefix(path, consoleAPI), "/") == "/v1/publish" {
		return longestBody
	}
	return bodyBytes
}

// leaveBody has the server answer without the body, and close the connection.
func leaveBody(h *fasthttp.RequestHeader) {
	h.SetContentLength(0)
	h.Del("Expect")
	h.SetConnectionClose()
}

func (d *Door) readsBody(h *fasthttp.RequestHeader, path string) bool {
	if d.rest == nil || isSocketPath(path) {
		return false
	}
	if d.Console && strings.HasPrefix(path, consoleAPI+"/") {
		return d.signedIn(h)
	}
	authorization := h.PeekAll("Authorization")
	if len(authorization) != 1 {
		return false
	}
	_, refused := auth.Authenticate(d.Apps.Current(), string(authorization[0]))
	return refused == nil
}

// signedIn says whether the cookie of a request of the console's page is good. The console asks Redis
// besides whether its owner has signed out.
func (d *Door) signedIn(h *fasthttp.RequestHeader) bool {
	header := http.Header{}
	for _, line := range h.PeekAll("Cookie") {
		header.Add("Cookie", string(line))
	}
	_, ok := auth.VerifySession(d.Apps.Current(), header, d.Now())
	return ok
}

// serveHTTP has h answer. The path stays as it was sent: with a broken escape, or with
// %2F, it is for h to say what that means.
func serveHTTP(h http.Handler, ctx *fasthttp.RequestCtx, path, query string, s streams) {
	decoded, err := url.PathUnescape(path)
	if err != nil {
		decoded = path
	}
	header := http.Header{}
	for name, value := range ctx.Request.Header.All() {
		header.Add(string(name), string(value))
	}
	header.Del("Host") // as net/http's server does
	target := path
	if query != "" {
		target += "?" + query
	}
	length := int64(len(ctx.PostBody()))
	if conn, ok := ctx.Conn().(*intake.Conn); ok {
		length = conn.BodyLength()
	}
	w := &restWriter{ctx: ctx, header: http.Header{}, streams: s}
	h.ServeHTTP(w, &http.Request{
		Method: string(ctx.Method()),
		URL:    &url.URL{Path: decoded, RawPath: path, RawQuery: query},
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Host: string(ctx.Request.Header.Host()), RequestURI: target,
		Body: readCloser{bytes.NewReader(ctx.PostBody())}, ContentLength: length,
		RemoteAddr: ctx.RemoteAddr().String(),
	})
	w.WriteHeader(http.StatusOK)
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// restWriter is net/http's view of a response.
type restWriter struct {
	ctx    *fasthttp.RequestCtx
	header http.Header
	wrote  bool
	streams
}

// Header is http.ResponseWriter's.
func (w *restWriter) Header() http.Header { return w.header }

// WriteHeader is http.ResponseWriter's.
func (w *restWriter) WriteHeader(status int) {
	if w.wrote {
		return
	}
	w.wrote = true
	w.ctx.SetStatusCode(status)
	for name, values := range w.header {
		for _, value := range values {
			w.ctx.Response.Header.Add(name, value)
		}
	}
}

// OnHangUp is api.WhileConnected's: it calls gone if the client hangs up before stop is called.
func (w *restWriter) OnHangUp(gone func()) (stop func()) {
	conn, ok := w.ctx.Conn().(*intake.Conn)
	if !ok {
		return func() {}
	}
	return conn.OnHangUp(gone)
}

// Write is http.ResponseWriter's.
func (w *restWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.ctx.Write(p)
}
