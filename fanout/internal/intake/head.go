package intake

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
)

// maxFields is how many header fields a request may have.
const maxFields = 100

// chunked is the length of a body that comes in chunks.
const chunked = -1

// headScanner checks a request's head line by line as it comes (RFC 9112 §2–§6),
// and learns how the body is framed. It is stricter than the RFC allows a server
// to be where leniency makes two readers of one request disagree.
type headScanner struct {
	at   int // the next byte to look at
	line int // where its line begins

	begun      bool // the request line has come
	http10     bool
	fields     int
	hosts      int
	hasLength  bool
	hasCoding  bool
	bodyLength int64 // or chunked
}

// scan goes on with what is there of the head by now. It is done at the empty
// line that ends the head; end is where that is over.
func (s *headScanner) scan(b []byte) (end int, done bool, refused *refusal) {
	for ; s.at < len(b); s.at++ {
		switch c := b[s.at]; {
		case c == '\n':
			if s.at == s.line || b[s.at-1] != '\r' {
				return 0, false, malformed("a line of the request ends in LF alone; it must end in CR LF")
			}
			done, refused := s.endLine(b[s.line : s.at-1])
			s.line = s.at + 1
			if done || refused != nil {
				return s.line, done, refused
			}
		case s.at > s.line && b[s.at-1] == '\r':
			return 0, false, malformed("the request has a CR that no LF follows")
		case c < ' ' && c != '\t' && c != '\r' || c == 0x7f:
			return 0, false, malformed("the request has the control character %#02x before its body; it is not HTTP/1.1", c)
		}
	}
	return 0, false, nil
}

func (s *headScanner) endLine(line []byte) (done bool, refused *refusal) {
	switch {
	case !s.begun && len(line) == 0: // RFC 9112 §2.2: ignored in front of a request
		return false, nil
	case !s.begun:
		s.begun = true
		return false, s.requestLine(line)
	case len(line) == 0:
		return true, s.whole()
	}
	if s.fields++; s.fields > maxFields {
		return false, refuse(http.StatusRequestHeaderFieldsTooLarge, "the request has over %d header fields", maxFields)
	}
	return false, s.field(line)
}

func (s *headScanner) requestLine(line []byte) *refusal {
	method, rest, _ := bytes.Cut(line, []byte(" "))
	target, version, ok := bytes.Cut(rest, []byte(" "))
	switch {
	case !ok || !isToken(method) || len(target) == 0 || bytes.ContainsAny(target, "\t#"):
		return malformed("the request line must be a method, a target without blanks or #, and HTTP/1.1, with one space between them")
	case string(version) == "HTTP/1.0":
		s.http10 = true
	case string(version) != "HTTP/1.1":
		return malformed("the request's version must be HTTP/1.1 or HTTP/1.0")
	}
	if !isTarget(method, target) {
		return malformed("the request's target must be a path that begins with /, or an http:// or https:// URL")
	}
	return nil
}

// isTarget knows the forms of RFC 9112 §3.2 but that of CONNECT: a node is no proxy.
func isTarget(method, target []byte) bool {
	if target[0] == '/' || string(target) == "*" && string(method) == http.MethodOptions {
		return true
	}
	scheme, rest, ok := strings.Cut(string(target), "://")
	authority, _, _ := strings.Cut(rest, "/")
	authority, _, _ = strings.Cut(authority, "?")
	return ok && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")) && authority != "" && isHost(authority)
}

func (s *headScanner) field(line []byte) *refusal {
	if line[0] == ' ' || line[0] == '\t' {
		return malformed("a header field goes on over a second line, which HTTP/1.1 forbids (RFC 9112 §5.2)")
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(name) {
		return malformed("a header field must be a name, a colon directly behind it, and a value")
	}
	is := func(known string) bool { return len(name) == len(known) && strings.EqualFold(string(name), known) }
	value = bytes.Trim(value, " \t")
	switch {
	case is("Host"):
		return s.host(string(value))
	case is("Content-Length"):
		return s.contentLength(string(value))
	case is("Transfer-Encoding"):
		return s.transferEncoding(string(value))
	case is("Expect") && !strings.EqualFold(string(value), "100-continue"):
		return refuse(http.StatusExpectationFailed, "the only expectation that is met is Expect: 100-continue")
	}
	return nil
}

func (s *headScanner) host(value string) *refusal {
	if s.hosts++; s.hosts > 1 {
		return malformed("the request has two Host headers; send one")
	}
	if !isHost(value) {
		return malformed("the Host header must be a host name or address, with or without a port")
	}
	return nil
}

func (s *headScanner) contentLength(value string) *refusal {
	if s.hasLength {
		return malformed("the request has two Content-Length headers; send one")
	}
	s.hasLength = true
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		return malformed("the Content-Length must be a number of bytes, in digits")
	}
	s.bodyLength = int64(n)
	return nil
}

func (s *headScanner) transferEncoding(value string) *refusal {
	switch {
	case s.hasCoding || !strings.EqualFold(value, "chunked"):
		return malformed("the only Transfer-Encoding that is taken is chunked, once")
	case s.http10:
		return malformed("HTTP/1.0 has no Transfer-Encoding; send a Content-Length")
	}
	s.hasCoding = true
	return nil
}

func (s *headScanner) whole() *refusal {
	switch {
	case s.hasCoding && s.hasLength:
		return malformed("the request has both Content-Length and Transfer-Encoding; send one of them")
	case s.hosts == 0 && !s.http10:
		return malformed("the request has no Host header, which HTTP/1.1 requires")
	}
	if s.hasCoding {
		s.bodyLength = chunked
	}
	return nil
}

// isToken knows RFC 9110 §5.6.2.
func isToken(s []byte) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return len(s) > 0
}

// isHost takes a reg-name or address and a port (RFC 3986 §3.2). An empty one is
// allowed by RFC 9110 §7.2, for a target without one.
func isHost(s string) bool {
	host, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		host, port = s[:i], s[i+1:]
	}
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return false
		}
	}
	if len(port) > 5 {
		return false
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		return ok && inner != "" && strings.Trim(inner, "0123456789abcdefABCDEF:.") == ""
	}
	for i := range len(host) {
		c := host[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~!$&'()*+,;=", rune(c)) {
			return false
		}
	}
	return true
}
