package api

import (
	"net/http"
	"net/url"
	"strings"

	"fleetwire/clients/go/protocol"
)

// Route is one row of the REST table (protocol §5).
type Route struct {
	Method   string // "POST"
	Path     string // "/v1/channels/{channel}/publish": at most one {parameter}
	Function string // the folder in functions/ that serves it
}

// Match says whether escapedPath, as [Path] gives it, is this route's, and cuts out
// its parameter, still escaped. A slash behind a route that ends in a fixed word
// does not matter.
//
// The parameter is everything between what stands before it in the template and
// what stands after it, slashes too: some front doors decode %2F on the way
// (protocol §5). It may be empty. Nothing is cleaned or folded, so "a//b" and
// "a/../b" reach the code that validates the parameter.
func (rt Route) Match(escapedPath string) (param string, ok bool) {
	prefix, rest, templated := strings.Cut(rt.Path, "{")
	if !templated {
		return "", strings.TrimSuffix(escapedPath, "/") == rt.Path
	}
	_, suffix, _ := strings.Cut(rest, "}")
	param, ok = strings.CutPrefix(escapedPath, prefix)
	if !ok {
		return "", false
	}
	if suffix != "" {
		param = strings.TrimSuffix(param, "/")
	}
	// After the prefix, so that the two cannot share a slash: "/v1/channels/publish" names no channel.
	param, ok = strings.CutSuffix(param, suffix)
	if !ok {
		return "", false
	}
	return param, true
}

// setParam puts the parameter, still escaped, where [Channel] and PathValue find it.
func (rt Route) setParam(r *http.Request, param string) {
	if _, rest, templated := strings.Cut(rt.Path, "{"); templated {
		name, _, _ := strings.Cut(rest, "}")
		r.SetPathValue(name, param)
	}
}

// Channel is the channel in the path of a request, decoded once: %2F, %2f and slashes
// that a front door has decoded all come to the same, and '+' is a plus sign. It may
// not be valid.
func Channel(r *http.Request) (string, error) {
	name, err := url.PathUnescape(r.PathValue("channel"))
	if err != nil {
		return "", protocol.Errorf(protocol.InvalidChannel,
			"the channel in the path has a broken escape (%v); percent-encode it, a literal %% as %%25", err)
	}
	return name, nil
}

// Allows says whether a request with this method is the route's: HEAD is where GET
// is (RFC 9110 §9.3.2).
func (rt Route) Allows(method string) bool {
	return method == rt.Method || method == http.MethodHead && rt.Method == http.MethodGet
}

// Allow is the Allow header of an answer to another method.
func (rt Route) Allow() string {
	if rt.Method == http.MethodGet {
		return "GET, HEAD"
	}
	return rt.Method
}

// Path is a request's path as it was sent, escapes and all. A broken escape is for
// the handler to refuse, so the servers that run the handlers keep it in
// URL.RawPath; url.URL.EscapedPath would repair it.
func Path(r *http.Request) string {
	if raw := r.URL.RawPath; raw != "" {
		if path, err := url.PathUnescape(raw); err != nil || path == r.URL.Path {
			return raw
		}
	}
	return r.URL.EscapedPath()
}

// String is "POST /v1/tokens".
func (rt Route) String() string { return rt.Method + " " + rt.Path }
