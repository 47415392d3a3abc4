package node

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
)

// counting is a control plane that says what it got, and how often.
func counting(served *[]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*served = append(*served, r.Method+" "+r.RequestURI+" "+string(body))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	})
}

// HOSTILE: requests that two readers could take for two different ones, the way to
// smuggle a request past a proxy (RFC 9112 §2 to §7, §11.2). Each is answered with
// 400, reaches nobody, and ends its connection: what follows it is not read.
func TestRequestFraming(t *testing.T) {
	var served []string
	r := prepare(t)
	r.MountControlPlane(counting(&served))
	r.run()
	r.awaitReady()
	const key = "Authorization: Bearer " + keyID + ":" + secret + "\r\n"
	const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	head := func(lines ...string) string {
		return "POST /a HTTP/1.1\r\nHost: x\r\n" + key + strings.Join(lines, "\r\n") + "\r\n\r\n"
	}
	chunks := func(body string) string { return head("Transfer-Encoding: chunked") + body }
	for name, tt := range map[string]struct {
		request string
		status  int
	}{
		// §2.2: lines end in CR LF.
		"LF for CR LF":                   {"GET /a HTTP/1.1\nHost: x\n\n", 400},
		"LF behind a field":              {"GET /a HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400},
		"LF as the empty line":           {"GET /a HTTP/1.1\r\nHost: x\r\n\n", 400},
		"CR alone in a value":            {head("X: a\rb"), 400},
		"CR alone as line end":           {"GET /a HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", 400},
		"two CR":                         {"GET /a HTTP/1.1\r\r\nHost: x\r\n\r\n", 400},
		"NUL in a value":                 {head("X: a\x00b"), 400},
		"NUL in the target":              {"GET /a\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"DEL in a value":                 {head("X: a\x7fb"), 400},
		"a blank before the first field": {"GET /a HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n", 400},
		// §3: the request line.
		"two blanks behind the method":  {"GET  /a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"two blanks before the version": {"GET /a  HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"a tab for a blank":             {"GET\t/a\tHTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"a blank behind the version":    {"GET /a HTTP/1.1 \r\nHost: x\r\n\r\n", 400},
		"no version":                    {"GET /a\r\nHost: x\r\n\r\n", 400},
		"HTTP/0.9":                      {"GET /a\r\n", 400},
		"HTTP/2":                        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
		"http in lower case":            {"GET /a http/1.1\r\nHost: x\r\n\r\n", 400},
		"a method that is no token":     {"G(T /a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"no method":                     {" /a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"a relative target":             {"GET a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"an authority as target":        {"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"* as target":                   {"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		"a fragment":                    {"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n", 400},
		// §3.2: one Host.
		"no Host":               {"GET /a HTTP/1.1\r\n\r\n", 400},
		"two Hosts":             {"GET /a HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		"the same Host twice":   {"GET /a HTTP/1.1\r\nHost: x\r\nhOST: x\r\n\r\n", 400},
		"two Hosts in HTTP/1.0": {"GET /a HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n", 400},
		"an empty Host":         {"GET /a HTTP/1.1\r\nHost:\r\n\r\n", 400},
		"a Host with a blank":   {"GET /a HTTP/1.1\r\nHost: x y\r\n\r\n", 400},
		"a Host with a path":    {"GET /a HTTP/1.1\r\nHost: x/y\r\n\r\n", 400},
		"a Host with an @":      {"GET /a HTTP/1.1\r\nHost: a@x\r\n\r\n", 400},
		"a port of letters":     {"GET /a HTTP/1.1\r\nHost: x:http\r\n\r\n", 400},
		// §5: fields.
		"a blank before the colon":   {"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nabcde", 400},
		"a tab before the colon":     {"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400},
		"no colon":                   {head("X"), 400},
		"no name":                    {head(": x"), 400},
		"a name beyond ASCII":        {head("é: x"), 400},
		"a folded field":             {head("X: a", " b"), 400},
		"a field folded with a tab":  {head("X: a", "\tb"), 400},
		"a folded Transfer-Encoding": {head("Transfer-Encoding:", " chunked") + "0\r\n\r\n", 400},
		// §6: the body's length.
		"Content-Length with chunks":      {head("Content-Length: 5", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400},
		"chunks with Content-Length":      {head("Transfer-Encoding: chunked", "Content-Length: 5") + "0\r\n\r\n", 400},
		"two Content-Lengths":             {head("Content-Length: 1", "Content-Length: 2") + "ab", 400},
		"the same Content-Length twice":   {head("Content-Length: 1", "Content-Length: 1") + "a", 400},
		"Content-Length as a list":        {head("Content-Length: 1, 1") + "a", 400},
		"a signed Content-Length":         {head("Content-Length: +1") + "a", 400},
		"a negative Content-Length":       {head("Content-Length: -1"), 400},
		"a hexadecimal Content-Length":    {head("Content-Length: 0x1") + "a", 400},
		"a Content-Length of 20 digits":   {head("Content-Length: 99999999999999999999"), 400},
		"an empty Content-Length":         {head("Content-Length:"), 400},
		"a Content-Length with a blank":   {head("Content-Length: 1 1") + "a", 400},
		"Transfer-Encoding identity":      {head("Transfer-Encoding: identity"), 400},
		"Transfer-Encoding gzip, chunked": {head("Transfer-Encoding: gzip, chunked") + "0\r\n\r\n", 400},
		"chunked twice":                   {head("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400},
		"chunked, chunked":                {head("Transfer-Encoding: chunked, chunked") + "0\r\n\r\n", 400},
		"chunked in quotes":               {head(`Transfer-Encoding: "chunked"`) + "0\r\n\r\n", 400},
		"xchunked":                        {head("Transfer-Encoding: xchunked") + "0\r\n\r\n", 400},
		"chunks in HTTP/1.0":              {"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
		// §7: chunks.
		"a size that is no number":    {chunks("x\r\n"), 400},
		"a size with 0x":              {chunks("0x1\r\na\r\n0\r\n\r\n"), 400},
		"a signed size":               {chunks("+1\r\na\r\n0\r\n\r\n"), 400},
		"a blank before the size":     {chunks(" 1\r\na\r\n0\r\n\r\n"), 400},
		"a blank behind the size":     {chunks("1 \r\na\r\n0\r\n\r\n"), 400},
		"LF behind the size":          {chunks("1\na\r\n0\r\n\r\n"), 400},
		"LF behind the data":          {chunks("1\r\na\n0\r\n\r\n"), 400},
		"no line end behind the data": {chunks("1\r\nab\r\n0\r\n\r\n"), 400},
		"a size of 17 digits":         {chunks("00000000000000001\r\na\r\n0\r\n\r\n"), 400},
		"LF in an extension":          {chunks("1;a\n\r\na\r\n0\r\n\r\n"), 400},
		"LF behind a trailer":         {chunks("0\r\nX: y\n\r\n"), 400},
		"LF at the end":               {chunks("0\r\n\n"), 400},
		// What is HTTP, but too much, or not met.
		"101 fields":          {"GET /a HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 100) + "\r\n", 431},
		"another expectation": {head("Expect: 200-ok"), 417},
	} {
		t.Run(name, func(t *testing.T) {
			served = nil
			conn, in := r.raw(tt.request + smuggled)
			defer conn.Close()
			response, err := http.ReadResponse(in, nil)
			check(t, err)
			body, err := io.ReadAll(response.Body)
			check(t, err)
			if response.StatusCode != tt.status || response.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%d %s %s, want %d", response.StatusCode, response.Header.Get("Content-Type"), body, tt.status)
			}
			wantErrorBody(t, string(body), string(protocol.InvalidRequest))
			if _, err := in.ReadByte(); err != io.EOF {
				t.Errorf("after the answer: %v, want the end of the stream", err)
			}
			if len(served) > 0 {
				t.Errorf("served %q", served)
			}
		})
	}
}

// Requests that are HTTP to the letter, if unusual, are served, and the next one on
// the same connection is, too.
func TestUnusualRequests(t *testing.T) {
	var served []string
	r := prepare(t)
	r.MountControlPlane(counting(&served))
	r.run()
	r.awaitReady()
	const key = "Authorization: Bearer " + keyID + ":" + secret + "\r\n"
	const host = "Host: x\r\n" + key
	for name, tt := range map[string]struct{ request, served string }{
		"empty lines in front":    {"\r\n\r\nGET /a HTTP/1.1\r\n" + host + "\r\n", "GET /a "},
		"a whole URL":             {"GET http://x/a%2Fb?c=d HTTP/1.1\r\n" + host + "\r\n", "GET /a%2Fb?c=d "},
		"a URL without a path":    {"GET HTTPS://x:1?c=d HTTP/1.1\r\n" + host + "\r\n", "GET /?c=d "},
		"no blank before a value": {"GET /a HTTP/1.1\r\nHost:x\r\n" + key + "\r\n", "GET /a "},
		"an IPv6 Host":            {"GET /a HTTP/1.1\r\nHost: [::1]:80\r\n" + key + "\r\n", "GET /a "},
		"a body on GET":           {"GET /a HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabc", "GET /a abc"},
		"a body of no bytes":      {"POST /a HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n", "POST /a "},
		"a padded length":         {"POST /a HTTP/1.1\r\n" + host + "Content-Length: 003\r\n\r\nabc", "POST /a abc"},
		"chunks":                  {"POST /a HTTP/1.1\r\n" + host + "transfer-encoding: Chunked\r\n\r\n2;x=\"y\"\r\nab\r\n00A\r\n0123456789\r\n0\r\nX-Sum: y\r\n\r\n", "POST /a ab0123456789"},
		"no chunk":                {"POST /a HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "POST /a "},
		"a method of our own":     {"FOO /a HTTP/1.1\r\n" + host + "\r\n", "FOO /a "},
		"a broken escape":         {"GET /100% HTTP/1.1\r\n" + host + "\r\n", "GET /100% "},
		"bytes beyond ASCII":      {"GET /é HTTP/1.1\r\n" + host + "\r\n", "GET /é "},
		"100 fields":              {"GET /a HTTP/1.1\r\n" + host + strings.Repeat("X: y\r\n", 98) + "\r\n", "GET /a "},
	} {
		t.Run(name, func(t *testing.T) {
			served = nil
			conn, in := r.raw(tt.request + "GET /next HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n")
			defer conn.Close()
			for range 2 {
				wantOK(t, in)
			}
			if len(served) != 2 || served[0] != tt.served || served[1] != "GET /next " {
				t.Errorf("served %q, want %q and the next", served, tt.served)
			}
			if _, err := in.ReadByte(); err != io.EOF {
				t.Errorf("after the answers: %v, want the end of the stream", err)
			}
		})
	}
}

func wantOK(t *testing.T, in *bufio.Reader) {
	t.Helper()
	response, err := http.ReadResponse(in, nil)
	check(t, err)
	body, err := io.ReadAll(response.Body)
	check(t, err)
	if response.StatusCode != 200 {
		t.Errorf("%d %s", response.StatusCode, body)
	}
}
