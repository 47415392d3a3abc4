package api

import "strings"

// Route is one row of the REST table (protocol §5).
type Route struct {
	Method   string // "POST"
	Path     string // "/v1/channels/{channel}/publish": at most one {parameter}
	Function string // the folder in functions/ that serves it
}

// Match says whether escapedPath, as url.URL.EscapedPath gives it, is this
// route's, and cuts out its parameter, still escaped.
//
// The parameter is everything between what stands before it in the template and
// what stands after it, slashes too: some front doors decode %2F on the way
// (protocol §5). It may be empty. Nothing is cleaned or folded, so "a//b" and
// "a/../b" reach whoever validates the parameter.
func (rt Route) Match(escapedPath string) (param string, ok bool) {
	prefix, rest, templated := strings.Cut(rt.Path, "{")
	if !templated {
		return "", escapedPath == rt.Path
	}
	_, suffix, _ := strings.Cut(rest, "}")
	param, ok = strings.CutPrefix(escapedPath, prefix)
	if !ok {
		return "", false
	}
	// After the prefix, so that the two cannot share a slash: "/v1/channels/publish" names no channel.
	param, ok = strings.CutSuffix(param, suffix)
	if !ok {
		return "", false
	}
	return param, true
}

// String is "POST /v1/tokens".
func (rt Route) String() string { return rt.Method + " " + rt.Path }
