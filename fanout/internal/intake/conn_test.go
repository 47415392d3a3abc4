package intake

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

const patience = 20 * time.Second

// listen accepts connections as a node does, with these limits.
func listen(t testing.TB, change func(*Listener)) *Listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	l := Listen(inner, 32<<10, 8<<10, patience)
	change(l)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// connect gives both ends of a connection.
func connect(t testing.TB, l *Listener) (client net.Conn, server *Conn) {
	t.Helper()
	client, err := net.Dial("tcp", l.Addr().String())
	check(t, err)
	check(t, client.SetDeadline(time.Now().Add(patience)))
	accepted, err := l.Accept()
	check(t, err)
	server = accepted.(*Conn)
	check(t, server.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return client, server
}

func send(t testing.TB, conn net.Conn, text string) {
	t.Helper()
	_, err := io.WriteString(conn, text)
	check(t, err)
}

// wantRefused wants the server to see the end of the stream, and the client this status.
func wantRefused(t *testing.T, client net.Conn, server *Conn, status int) {
	t.Helper()
	if rest, err := io.ReadAll(server); len(rest) > 0 || err != nil {
		t.Errorf("the server reads %q %v", rest, err)
	}
	_, _ = server.Write([]byte("HTTP/1.1 400 what the server makes of that\r\n\r\n"))
	go server.Close()
	in := bufio.NewReader(client)
	response, err := http.ReadResponse(in, nil)
	check(t, err)
	body, err := io.ReadAll(response.Body)
	check(t, err)
	if response.StatusCode != status || !bytes.HasPrefix(body, []byte(`{"error":"`)) {
		t.Errorf("%d %s, want %d", response.StatusCode, body, status)
	}
	if retry := response.Header.Get("Retry-After"); (retry != "") != (status == 503) {
		t.Errorf("Retry-After %q", retry)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("after the answer: %v", err)
	}
	_ = client.Close()
}

func head(bytes int) string {
	const before, after = "GET / HTTP/1.1\r\nHost: x\r\nX: ", "\r\n\r\n"
	return before + strings.Repeat("x", bytes-len(before)-len(after)) + after
}

// The server sees requests as they came, one after the other, whatever its buffer.
func TestRequestsAreHandedOn(t *testing.T) {
	requests := []string{
		head(100), head(smallHead), head(smallHead + 1), head(freeHead), head(freeHead + 1), head(32 << 10),
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n" + strings.Repeat("y", 5000),
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1388\r\n" + strings.Repeat("y", 5000) + "\r\n0\r\n\r\n",
		head(50),
	}
	all := strings.Join(requests, "")
	for _, size := range []int{1, 7, 4096, 64 << 10} {
		l := listen(t, func(*Listener) {})
		client, server := connect(t, l)
		go func() { _, _ = io.WriteString(client, all) }()
		var got []byte
		for buffer := make([]byte, size); len(got) < len(all); {
			n, err := server.Read(buffer)
			check(t, err)
			got = append(got, buffer[:n]...)
		}
		if string(got) != all {
			t.Errorf("read by %d bytes, the requests have changed", size)
		}
		send(t, client, head(60)) // the request before is over
		_, err := server.Read(make([]byte, 1))
		check(t, err)
		if heads, bodies := l.heads.used.Load(), l.bodies.used.Load(); heads != 0 || bodies != 0 {
			t.Errorf("read by %d bytes, %d bytes of heads and %d of bodies stay taken", size, heads, bodies)
		}
	}
}

// No read goes beyond the end of a request: what follows belongs to the next, or to
// the session that takes the connection over.
func TestTake(t *testing.T) {
	client, server := connect(t, listen(t, func(*Listener) {}))
	send(t, client, head(100)+"frames")
	buffer := make([]byte, 1<<10)
	n, err := io.ReadFull(server, buffer[:100])
	if n != 100 || err != nil {
		t.Fatal(n, err)
	}
	conn, early := server.Take()
	rest := make([]byte, len("frames")-len(early)) // what had not come with the head
	_, err = io.ReadFull(conn, rest)
	check(t, err)
	if got := string(early) + string(rest); got != "frames" {
		t.Errorf("got %q", got)
	}
}

// HOSTILE: many connections that send long heads, and none of them whole.
func TestLongHeadsShareABudget(t *testing.T) {
	l := listen(t, func(l *Listener) { l.heads.most = 2 * 32 << 10 })
	begun := func() (net.Conn, *Conn, chan error) {
		client, server := connect(t, l)
		send(t, client, head(32 << 10)[:freeHead+1])
		read := make(chan error, 1)
		go func() { _, err := server.Read(make([]byte, 1)); read <- err }()
		return client, server, read
	}
	var reads []chan error
	var clients []net.Conn
	for range 2 {
		client, _, read := begun()
		reads, clients = append(reads, read), append(clients, client)
	}
	redistest.Eventually(t, patience, "both have taken their part", func() bool { return l.heads.used.Load() == 2*32<<10 })
	client, server := connect(t, l)
	send(t, client, head(32 << 10)[:freeHead+1])
	wantRefused(t, client, server, 503)
	// Usual heads are not concerned.
	client, server = connect(t, l)
	send(t, client, head(freeHead))
	_, err := server.Read(make([]byte, 1))
	check(t, err)

	for i, client := range clients {
		send(t, client, head(32 << 10)[freeHead+1:])
		check(t, <-reads[i])
	}
}

// HOSTILE: as many bodies as connections.
func TestBodiesShareABudget(t *testing.T) {
	l := listen(t, func(l *Listener) { l.bodies.most = 32<<10 + 8<<10 })
	const request = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 8192\r\n\r\n"
	client, server := connect(t, l)
	send(t, client, request+"x")
	_, err := io.ReadFull(server, make([]byte, len(request)+1))
	check(t, err)

	second, refused := connect(t, l)
	send(t, second, request+"x")
	_, err = io.ReadFull(refused, make([]byte, len(request)))
	check(t, err)
	wantRefused(t, second, refused, 503)

	// With the first one whole, the server's buffer is free again, its body is not.
	send(t, client, strings.Repeat("x", 8191))
	_, err = io.ReadFull(server, make([]byte, 8191))
	check(t, err)
	if used := l.bodies.used.Load(); used != 8<<10 {
		t.Errorf("%d bytes are taken by a body of 8192", used)
	}
	check(t, server.Close())
	if used := l.bodies.used.Load(); used != 0 {
		t.Errorf("%d bytes stay taken", used)
	}
}

func TestHeadsThatDoNotCome(t *testing.T) {
	for name, tt := range map[string]struct {
		sent   string
		end    bool
		status int
	}{
		"not in time":     {"GET / HTTP/1.1\r\nHost", false, 408},
		"ended half-way":  {"GET / HTTP/1.1\r\nHost", true, 400},
		"too long":        {head(33 << 10), false, 431},
		"too long a line": {"GET /" + strings.Repeat("x", 33<<10), false, 414},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t, func(l *Listener) {
				if tt.status == 408 {
					l.patience = time.Millisecond
				}
			})
			client, server := connect(t, l)
			go func() {
				_, _ = io.WriteString(client, tt.sent)
				if tt.end {
					_ = client.(*net.TCPConn).CloseWrite()
				}
			}()
			wantRefused(t, client, server, tt.status)
		})
	}
}

// A connection that ends before a request is no error to tell anybody.
func TestSilentConnections(t *testing.T) {
	client, server := connect(t, listen(t, func(*Listener) {}))
	check(t, client.(*net.TCPConn).CloseWrite())
	if _, err := server.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the server reads %v", err)
	}
	check(t, server.Close())
	if got, err := io.ReadAll(client); len(got) > 0 || err != nil {
		t.Errorf("the client reads %q %v", got, err)
	}
}

// However a request is cut, intake sees the same in it.
func FuzzHead(f *testing.F) {
	f.Add([]byte(head(80)), uint16(10))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), uint16(30))
	f.Add([]byte("\r\nGET http://x/ HTTP/1.0\r\n\r\n"), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		describe := func(end int, done bool, refused *refusal, s *headScanner) string {
			if refused != nil {
				return refused.shown.Error()
			}
			return fmt.Sprint(end, done, s.bodyLength)
		}
		var once, twice headScanner
		end, done, refused := once.scan(b)
		whole := describe(end, done, refused, &once)
		at := min(int(cut), len(b))
		end, done, refused = twice.scan(b[:at])
		if !done && refused == nil {
			end, done, refused = twice.scan(b)
		}
		if got := describe(end, done, refused, &twice); got != whole {
			t.Fatalf("whole: %s; cut at %d: %s", whole, at, got)
		}
		if done && !bytes.HasSuffix(b[:end], []byte("\r\n\r\n")) {
			t.Fatalf("a head ends in %q", b[:end])
		}
	})
}

// However chunks are cut, their end is the same.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("5;x=y\r\nabcde\r\n0\r\nX: y\r\n\r\nGET"), uint16(3))
	f.Add([]byte("0\r\n\r\n"), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		var once, twice chunkScanner
		n, done, refused := once.scan(b)
		at := min(int(cut), len(b))
		m, done2, refused2 := twice.scan(b[:at])
		if !done2 && refused2 == nil {
			var more int
			more, done2, refused2 = twice.scan(b[m:])
			m += more
		}
		if n != m || done != done2 || refused != refused2 {
			t.Fatalf("whole: %d %v %v; cut at %d: %d %v %v", n, done, refused, at, m, done2, refused2)
		}
	})
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
