package apps

import (
	"errors"
	"strconv"
	"strings"
)

// maxOrigins is how many origins a key may name.
const maxOrigins = 100

// Origin is one entry of a key's allowedOrigins (protocol §1): the origin of web
// pages as browsers spell it (RFC 6454 §6.2), in which the host may begin with
// "*." for all hosts below it, and the port may be "*" for any, also none.
type Origin struct {
	text         string
	scheme, host string
	port         string // "" where it is the scheme's own
	below        bool   // host is that after "*."
	anyPort      bool
}

// String is the entry as written.
func (o Origin) String() string { return o.text }

// Matches tells whether an Origin header names one of the origins that o allows.
// The comparison is byte for byte, since browsers have only one spelling.
func (o Origin) Matches(header string) bool {
	scheme, host, port, ok := cutOrigin(header)
	if !ok || scheme != o.scheme || !o.anyPort && port != o.port {
		return false
	}
	if o.below {
		return strings.HasSuffix(host, "."+o.host)
	}
	return host == o.host
}

// AllowsOrigin tells whether the key may be used on a connection with this Origin
// header, "" for none. Without allowedOrigins any is allowed. None is always
// allowed: a page cannot make its browser leave the header out, and what is not a
// browser could send any (RFC 6455 §10.2), so refusing it would keep out honest
// devices alone.
func (k *Key) AllowsOrigin(header string) bool {
	if len(k.AllowedOrigins) == 0 || header == "" {
		return true
	}
	for _, o := range k.AllowedOrigins {
		if o.Matches(header) {
			return true
		}
	}
	return false
}

var errOrigin = errors.New(`must be an origin, such as "https://app.example.com", "https://*.example.com" or "http://localhost:*"`)

// defaultPorts are those that browsers leave out.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseOrigin reads an entry of allowedOrigins. An entry that no
// browser's Origin can match is an error, which says what would be right.
func parseOrigin(text string) (Origin, error) {
	o := Origin{text: text}
	rest := text
	switch scheme, after, _ := strings.Cut(text, "://"); {
	case text == "*":
		return o, errors.New("must be left out to allow all origins")
	case text == "null":
		return o, errors.New(`must not be "null": every sandboxed page and local file has that origin`)
	case !every(text, func(c byte) bool { return c < 0x80 }):
		return o, errors.New(`must have the host in its ASCII form, as in "https://xn--bcher-kva.example"`)
	case strings.ToLower(text) != text:
		return o, errors.New("must be in lower case, as browsers send it")
	case strings.Contains(after, "/"):
		return o, errors.New(`must end after the host or port: no path, and no "/" at the end`)
	default:
		if host, found := strings.CutPrefix(after, "*."); found {
			o.below = true
			rest = scheme + "://" + host
		}
		rest, o.anyPort = strings.CutSuffix(rest, ":*")
	}
	var ok bool
	o.scheme, o.host, o.port, ok = cutOrigin(rest)
	switch {
	case !ok || o.anyPort && o.port != "":
		return o, errOrigin
	case o.port != "" && o.port == defaultPorts[o.scheme]:
		return o, errors.New("must leave out the port " + o.port + ", as browsers do")
	case o.below && o.host != "localhost" && !strings.Contains(o.host, "."):
		return o, errors.New(`must have a "." in what comes after "*.", or it would allow everybody's hosts`)
	}
	return o, nil
}

// cutOrigin takes apart scheme://host or scheme://host:port, and refuses
// anything more.
func cutOrigin(s string) (scheme, host, port string, ok bool) {
	scheme, rest, found := strings.Cut(s, "://")
	if !found || scheme == "" || !every(scheme, schemeByte) {
		return "", "", "", false
	}
	end := strings.IndexByte(rest, ':')
	legal := hostByte
	if strings.HasPrefix(rest, "[") { // an IPv6 address
		end = strings.IndexByte(rest, ']') + 1
		legal = func(c byte) bool { return hostByte(c) || c == ':' || c == '[' || c == ']' }
	}
	if end >= 0 && end < len(rest) {
		host, port = rest[:end], rest[end:]
		n, err := strconv.ParseUint(strings.TrimPrefix(port, ":"), 10, 16)
		if port = strconv.FormatUint(n, 10); err != nil || rest[end:] != ":"+port {
			return "", "", "", false
		}
	} else {
		host = rest
	}
	if host == "" || host[0] == '.' || strings.Contains(host, "..") || !every(host, legal) {
		return "", "", "", false
	}
	return scheme, host, port, true
}

func schemeByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '-' || c == '.'
}

func hostByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
}
