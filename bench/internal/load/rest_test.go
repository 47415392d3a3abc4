package load

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"fleetwire/bench/internal/wire"
	"fleetwire/pkg/apps"
)

func TestReadResponse(t *testing.T) {
	for _, tt := range []struct{ name, in, expect, fails string }{
		{"fine", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "", ""},
		{"fine in lower case", "HTTP/1.1 200 OK\r\ncontent-length:3\r\n\r\nabc", "", ""},
		{"refused", "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 3\r\n\r\nabc", "", "HTTP/1.1 429 Too Many Requests: abc"},
		{"an error in a 200", "HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{\"error\":{\"code\":102}}", "", `refused: {"error":{"code":102}}`},
		{"no length", "HTTP/1.1 200 OK\r\n\r\nabc", "", "without a Content-Length"},
		{"a bad length", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "", "bad Content-Length"},
		{"as expected", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "bc", ""},
		{"not as expected", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "x", "answer without x: abc"},
		{"cut off", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "", "EOF"},
	} {
		in := bufio.NewReader(strings.NewReader(tt.in + "next"))
		if tt.name == "cut off" {
			in = bufio.NewReader(strings.NewReader(tt.in))
		}
		err := readResponse(in, []byte(tt.expect))
		if (err == nil) != (tt.fails == "") || err != nil && !strings.Contains(err.Error(), tt.fails) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.fails)
		}
		if err == nil {
			if rest, _ := io.ReadAll(in); string(rest) != "next" {
				t.Errorf("%s: %q is left, want what comes after the answer", tt.name, rest)
			}
		}
	}
}

func TestRESTKeepsItsConnection(t *testing.T) {
	var from []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from = append(from, r.RemoteAddr)
		if body, err := io.ReadAll(r.Body); err != nil || !strings.Contains(string(body), "~") {
			http.Error(w, "no message", http.StatusBadRequest)
		}
		_, _ = w.Write([]byte(`{"channel":"x","subscribers":1}`))
	}))
	defer s.Close()
	backend, err := DialREST(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	m := wire.Fleetwire{Key: &apps.Key{ID: "sk_live_1", Secret: "s"}}.REST("x", wire.Body(100))
	for range 3 {
		if err := backend.Do(m, Now()); err != nil {
			t.Fatal(err)
		}
	}
	if len(from) != 3 || from[0] != from[2] {
		t.Errorf("requests came from %v; want 3 from one connection", from)
	}
}
