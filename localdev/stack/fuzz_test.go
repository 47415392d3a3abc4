package stack_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"strconv"
	"strings"
	"testing"
	"time"

	"fleetwire/localdev/stack"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/logtest"
)

const (
	patience = 20 * time.Second
	keyID    = "sk_live_fuzz"
	secret   = "5ec4e7000000000000000000000000000000000000000001"
	document = `{"apps":[{"id":"app_fuzz",
  "limits":{"connectsPerAddressPerMin":100000000,"restPerSec":100000000,"restBurst":100000000},
  "keys":[{"id":"` + keyID + `","secret":"` + secret + `","channelPatterns":["devices/**"],"actions":["publish","subscribe","presence","send"]},
          {"id":"pk_live_fuzz","channelPatterns":["public/**"],"actions":["subscribe"]}]}]}`
)

// serve runs a stack on an embedded Redis until the test ends, and gives its
// address and what it logs.
func serve(t testing.TB) (addr string, log *logtest.Buffer) {
	t.Helper()
	dir, err := apps.Parse([]byte(document))
	check(t, err)
	log = new(logtest.Buffer)
	ctx, stop := context.WithCancel(context.Background())
	s, err := stack.New(ctx, stack.Options{
		Listen: "127.0.0.1:0", Apps: apps.NewStore(dir),
		Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	check(t, err)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		check(t, <-ended)
	})
	return s.Node.Addr(), log
}

// good requests, from which the fuzzer begins.
func good() []string {
	const host, key, body = "Host: localhost\r\n", "Authorization: Bearer " + keyID + ":" + secret + "\r\n", "Content-Type: application/json\r\n"
	const upgrade = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	return []string{
		"GET /v1?key=pk_live_fuzz HTTP/1.1\r\n" + host + upgrade + "\r\n",
		"GET /v1/?token=a.b.c HTTP/1.1\r\n" + host + upgrade + "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n\r\n",
		"GET /v1 HTTP/1.1\r\n" + host + "\r\n",
		"HEAD /v1 HTTP/1.1\r\n" + host + "\r\nGET /v1/usage HTTP/1.1\r\n" + host + key + "\r\n",
		"POST /v1/tokens HTTP/1.1\r\n" + host + key + body + "Content-Length: 14\r\n\r\n" + `{"peerId":"a"}`,
		"POST /v1/tokens HTTP/1.1\r\n" + host + body + "Expect: 100-continue\r\nContent-Length: 14\r\n\r\n" + `{"peerId":"a"}`,
		"POST /v1/channels/devices%2Fa/publish HTTP/1.1\r\n" + host + key + body + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"dat\r\n5;x=y\r\na\":1}\r\n0\r\nX-Sum: x\r\n\r\n" +
			"GET /v1/channels/devices/a/peers HTTP/1.1\r\n" + host + key + "\r\n",
		"DELETE /v1/peers/50%25?revoke=true HTTP/1.1\r\n" + host + key + "\r\n",
		"GET /v1/usage/channels/?limit=5&pattern=devices/* HTTP/1.0\r\n" + key + "\r\n",
		"GET http://localhost/v1/usage HTTP/1.1\r\n" + host + key + "Connection: close\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\n" + host + "\r\n",
		"POST /v1/channels/devices%2Fa/commands HTTP/1.1\r\n" + host + key + body + "Content-Length: 35\r\n\r\n" + `{"data":1,"ttlMs":1000,"expect":10}` +
			"GET /v1/channels/devices/a/commands?status=waiting HTTP/1.1\r\n" + host + key + "\r\n",
		"GET /v1/commands/cmd_?waitMs=25000 HTTP/1.1\r\n" + host + key + "\r\nDELETE /v1/commands/cmd_1 HTTP/1.1\r\n" + host + key + "\r\n",
		"GET /v1/peers?prefix=a&online=true&seenBefore=5&limit=5&cursor=YQ HTTP/1.1\r\n" + host + key + "\r\nGET /v1/peers/50%25 HTTP/1.1\r\n" + host + key + "\r\n",
		"GET /console/ HTTP/1.1\r\n" + host + "\r\nGET /console HTTP/1.1\r\n" + host + "\r\nGET /console/assets/x HTTP/1.1\r\n" + host + "\r\n",
		"POST /console/session HTTP/1.1\r\n" + host + key + "X-Fleetwire-Console: 1\r\n\r\n" +
			"GET /console/session HTTP/1.1\r\n" + host + "Cookie: fleetwire_console=a.b.c\r\n\r\nDELETE /console/session HTTP/1.1\r\n" + host + "X-Fleetwire-Console: 1\r\n\r\n" +
			"POST /console/api/v1/tokens HTTP/1.1\r\n" + host + key + body + "X-Fleetwire-Console: 1\r\n\r\n",
	}
}

// bad requests of every kind that was ever answered otherwise than in our form.
func bad() []string {
	const end = " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + keyID + ":" + secret + "\r\n\r\n"
	return []string{
		"POST /v1/channels/100%/publish" + end, "GET /v1/channels/a%zz/peers" + end, "DELETE /v1/peers/50%" + end, "GET /v1/usage%zz" + end, "GET /%" + end,
		"FOO /v1/tokens" + end, "FOO /v1" + end, "TRACE /" + end, "CONNECT localhost:443" + end, "CONNECT /v1" + end, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"GET /\r\n", "GET / HTTP/3.0\r\n\r\n", "\x16\x03\x01\x02\x00", "GET /v1/usage?%zz" + end, "GET /v1/usage#x" + end, "GET http://[::1/v1" + end, "GET ftp://x/v1" + end,
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost: %zz\r\n\r\n", "GET / HTTP/1.1\r\nHost: [::1]:70000\r\n\r\n",
		"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + keyID + ":" + secret + "\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + keyID + ":" + secret + "\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 9\r\n\r\n--x\r\n\r\n--",
		"GET /v1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\n\x81\x80",
	}
}

// HOSTILE: whatever is sent, each answer is HTTP, below 500, and JSON of our form,
// and the node lives on.
func FuzzRawRequests(f *testing.F) {
	for _, request := range append(good(), bad()...) {
		f.Add([]byte(request))
	}
	addr, log := serve(f)
	f.Fuzz(func(t *testing.T, request []byte) {
		answers := exchange(t, addr, request)
		if err := checkAnswers(answers); err != nil {
			t.Fatalf("%v\nrequest: %q\nanswers: %q", err, request, answers)
		}
		if text := log.String(); text != "" {
			t.Fatalf("logged: %s", text)
		}
	})
}

// Good requests are answered as such: a server that refused everything would pass
// the fuzzer.
func TestGoodRequestsAreServed(t *testing.T) {
	addr, _ := serve(t)
	for i, want := range [][]int{{101}, {101}, {426}, {426, 200}, {200}, {401}, {200, 200}, {200}, {200}, {200}, {404}, {202, 200}, {404, 404}, {200, 404}, {200, 308, 404}, {204, 401, 204, 401}} {
		request := good()[i]
		answers := exchange(t, addr, []byte(request))
		got, err := statuses(answers)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %v %v, want %v\n%s", request, got, err, want, answers)
		}
	}
}

func exchange(t testing.TB, addr string, request []byte) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	check(t, err)
	defer conn.Close()
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	_, _ = conn.Write(request) // it may be refused half-way
	_ = conn.(*net.TCPConn).CloseWrite()
	answers, err := io.ReadAll(conn)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Fatalf("the connection stays open\nrequest: %q\nanswers: %q", request, answers)
	}
	return answers
}

func checkAnswers(answers []byte) error {
	_, err := statuses(answers)
	return err
}

// statuses reads answers one after the other, and checks each.
func statuses(answers []byte) (all []int, err error) {
	in := bufio.NewReader(bytes.NewReader(answers))
	for {
		line, err := in.ReadString('\n')
		if err == io.EOF && line == "" {
			return all, nil
		}
		version, rest, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), " ")
		code, _, _ := strings.Cut(rest, " ")
		status, err := strconv.Atoi(code)
		if version != "HTTP/1.1" || err != nil {
			return nil, fmt.Errorf("an answer begins with %q", line)
		}
		header, err := textproto.NewReader(in).ReadMIMEHeader()
		if err != nil {
			return nil, fmt.Errorf("the header of an answer: %w", err)
		}
		if status == 100 {
			continue
		}
		all = append(all, status)
		if status == 101 {
			return all, nil // frames follow
		}
		if err := checkAnswer(in, status, header); err != nil {
			return nil, err
		}
	}
}

func checkAnswer(in *bufio.Reader, status int, header textproto.MIMEHeader) error {
	length, err := strconv.Atoi(header.Get("Content-Length"))
	if ofConsole := header.Get("Content-Security-Policy") != ""; ofConsole {
		switch file := header.Get("Content-Type") != "application/json"; {
		case status == 204: // it has no body, and says nothing of it
			return nil
		case status == 308 || status == 200 && file && err == nil:
			if next, _ := in.Peek(1); len(next) == 0 || next[0] == 'H' { // to HEAD
				return nil
			}
			_, err = in.Discard(length)
			return err
		}
	}
	switch {
	case err != nil:
		return fmt.Errorf("%d: Content-Length %q", status, header.Get("Content-Length"))
	case status >= 500 || status < 200:
		return fmt.Errorf("status %d", status)
	case header.Get("Content-Type") != "application/json":
		return fmt.Errorf("%d: Content-Type %q", status, header.Get("Content-Type"))
	case status == 405 && header.Get("Allow") == "":
		return errors.New("405 without Allow")
	}
	if next, _ := in.Peek(1); len(next) == 0 || next[0] != '{' { // to HEAD
		return nil
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return fmt.Errorf("%d: body: %w", status, err)
	}
	var shown struct{ Error, Message string }
	if err := json.Unmarshal(body, &shown); err != nil || status >= 300 && (shown.Error == "" || shown.Message == "") {
		return fmt.Errorf("%d: body %q", status, body)
	}
	return nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
