package lambda

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"
	"unicode/utf8"
)

// response collects what a handler writes.
type response struct {
	header http.Header
	status int // 0: nothing written yet
	sent   http.Header
	body   bytes.Buffer
}

func newResponse() *response { return &response{header: http.Header{}} }

// Header is http.ResponseWriter's.
func (w *response) Header() http.Header { return w.header }

// WriteHeader is http.ResponseWriter's. Headers set later are lost, as in any server.
func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status, w.sent = status, w.header.Clone()
	}
}

// Write is http.ResponseWriter's.
func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// serve has h answer r.
func serve(h http.Handler, r *http.Request) *response {
	w := newResponse()
	h.ServeHTTP(w, r)
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		w.body.Reset()
	}
	return w
}

// text is the body for an event: as it is, or as base64 when it is no text.
func (w *response) text() (body string, isBase64 bool) {
	if b := w.body.Bytes(); !utf8.Valid(b) {
		return base64.StdEncoding.EncodeToString(b), true
	}
	return w.body.String(), false
}

// single is the headers with one value each. Several are joined, which means the
// same (RFC 9110 §5.3) for all but Set-Cookie: a handler that sets several needs
// a target group with multi-value headers.
func (w *response) single() map[string]string {
	h := make(map[string]string, len(w.sent))
	for name, values := range w.sent {
		h[name] = strings.Join(values, ", ")
	}
	return h
}
