package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"fleetwire/clients/go/protocol"
)

// policy lets the page load what the console serves, and nothing else: no inline script or style, no
// other host, no frame around it, no form that leaves it, no base, and no HTML made of text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// protect sets the headers that each answer of the console has.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY") // for browsers that know no frame-ancestors
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// writeError answers in the form of protocol §5.
func writeError(w http.ResponseWriter, e *protocol.Error) {
	if e.Code == protocol.Unauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	write(w, e.Code.HTTPStatus(), protocol.AppendErrorBody(nil, e))
}

func writeJSON(w http.ResponseWriter, v any) *protocol.Error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return protocol.Errorf(protocol.InternalError, "the answer could not be encoded")
	}
	write(w, http.StatusOK, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return nil
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a failed write means that the caller is gone
}

// takes refuses other methods than those given. HEAD is where GET is (RFC 9110 §9.3.2).
func takes(w http.ResponseWriter, r *http.Request, methods ...string) *protocol.Error {
	if slices.Contains(methods, http.MethodGet) {
		methods = append(methods, http.MethodHead)
	}
	if slices.Contains(methods, r.Method) {
		return nil
	}
	allow := strings.Join(methods, ", ")
	w.Header().Set("Allow", allow)
	return protocol.Errorf(protocol.MethodNotAllowed, "this path takes %s only", allow)
}
