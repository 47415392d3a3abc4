package stack_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const credential = "Authorization: Bearer " + keyID + ":" + secret + "\r\n"

// open sends the beginning of a request, and leaves the connection open.
func open(t testing.TB, addr, request string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	check(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	check(t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, request)
	check(t, err)
	return conn, bufio.NewReader(conn)
}

func wantAnswer(t testing.TB, in *bufio.Reader, status int, says string) {
	t.Helper()
	response, err := http.ReadResponse(in, nil)
	check(t, err)
	body, err := io.ReadAll(response.Body)
	check(t, err)
	if response.StatusCode != status || !strings.Contains(string(body), says) {
		t.Errorf("%d %s, want %d %s", response.StatusCode, body, status, says)
	}
}

// HOSTILE: bodies from strangers, or that are too long. The answer does not wait for
// them.
func TestRefusedBeforeTheBody(t *testing.T) {
	addr, _ := serve(t)
	const wrong = "Authorization: Bearer " + keyID + ":wrong\r\n"
	for name, tt := range map[string]struct {
		head   string
		status int
		says   string
	}{
		"no credential":                 {"Content-Length: 100\r\n", 401, "unauthorized"},
		"no credential, in chunks":      {"Transfer-Encoding: chunked\r\n", 401, "unauthorized"},
		"a wrong secret":                {wrong + "Content-Length: 100\r\n", 401, "unauthorized"},
		"no credential, asking first":   {"Expect: 100-continue\r\nContent-Length: 100\r\n", 401, "unauthorized"},
		"a wrong secret, asking first":  {wrong + "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n", 401, "unauthorized"},
		"two credentials":               {credential + wrong + "Content-Length: 100\r\n", 400, "two Authorization headers"},
		"the same credential twice":     {credential + credential + "Content-Length: 100\r\n", 400, "two Authorization headers"},
		"too long by its length":        {credential + "Content-Length: 200000\r\n", 413, "131072"},
		"too long by far, asking first": {credential + "Expect: 100-continue\r\nContent-Length: 1000000000000\r\n", 413, "131072"},
	} {
		t.Run(name, func(t *testing.T) {
			_, in := open(t, addr, "POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+tt.head+"\r\n")
			wantAnswer(t, in, tt.status, tt.says)
			if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
				t.Errorf("then %q %v, want the end of the stream", rest, err)
			}
		})
	}
}

// HOSTILE: the same with the console. It reads no body without a session, to sign in either.
func TestRefusedBeforeTheBodyByTheConsole(t *testing.T) {
	addr, _ := serve(t)
	session := signedIn(t, addr)
	const good, sign, publish = "X-Fleetwire-Console: 1\r\nContent-Type: application/json\r\n", "/console/session", "/console/api/v1/publish"
	for name, tt := range map[string]struct {
		path, head string
		status     int
		says       string
	}{
		"signing in, without a key":            {sign, "Content-Length: 10\r\n", 401, "unauthorized"},
		"signing in, asking first":             {sign, "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", 401, "unauthorized"},
		"signing in, with a wrong key":         {sign, "Authorization: Bearer " + keyID + ":wrong\r\nContent-Length: 10\r\n", 401, "unauthorized"},
		"no session":                           {publish, "Content-Length: 100\r\n", 401, "unauthorized"},
		"no session, in chunks":                {publish, "Transfer-Encoding: chunked\r\n", 401, "unauthorized"},
		"a wrong session":                      {publish, "Cookie: " + session + "x\r\nContent-Length: 100\r\n", 401, "unauthorized"},
		"two sessions":                         {publish, "Cookie: " + session + "; " + session + "\r\nContent-Length: 100\r\n", 401, "unauthorized"},
		"a credential and no session":          {publish, credential + "Content-Length: 100\r\n", 401, "unauthorized"},
		"a session at the routes themselves":   {"/v1/publish", "Cookie: " + session + "\r\nContent-Length: 100\r\n", 401, "unauthorized"},
		"another path of the console":          {"/console/keys", "Cookie: " + session + "\r\nContent-Length: 100\r\n", 405, "method_not_allowed"},
		"too long with a session":              {"/console/api/v1/tokens", "Cookie: " + session + "\r\nContent-Length: 200000\r\n", 413, "131072"},
		"too many messages with a session":     {publish, "Cookie: " + session + "\r\nContent-Length: 300000\r\n", 413, "262144"},
		"a path that looks like the session's": {"/console/session/", "Content-Length: 100\r\n", 404, "not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			_, in := open(t, addr, "POST "+tt.path+" HTTP/1.1\r\nHost: x\r\n"+good+tt.head+"\r\n")
			wantAnswer(t, in, tt.status, tt.says)
			if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
				t.Errorf("then %q %v, want the end of the stream", rest, err)
			}
		})
	}
	long := `{"messages":[` + strings.Repeat(`{"channel":"devices/a","data":"`+strings.Repeat("x", 30<<10)+`"},`, 7) + `{"channel":"devices/a","data":1}]}`
	_, in := open(t, addr, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sCookie: %s\r\nContent-Length: %d\r\n\r\n%s", publish, good, session, len(long), long))
	wantAnswer(t, in, 200, strings.Repeat(`{"channel":"devices/a","subscribers":0},`, 7))
}

// signedIn begins a session of the console, and gives its cookie.
func signedIn(t testing.TB, addr string) string {
	t.Helper()
	_, in := open(t, addr, "POST /console/session HTTP/1.1\r\nHost: x\r\nX-Fleetwire-Console: 1\r\n"+credential+"\r\n")
	response, err := http.ReadResponse(in, nil)
	check(t, err)
	if cookies := response.Cookies(); response.StatusCode == 204 && len(cookies) == 1 {
		return cookies[0].Name + "=" + cookies[0].Value
	}
	t.Fatalf("signing in: %d %v", response.StatusCode, response.Header)
	return ""
}

// A client with a good credential that asks first is told to go on.
func TestExpectContinue(t *testing.T) {
	addr, _ := serve(t)
	const body = `{"peerId":"a"}`
	conn, in := open(t, addr, fmt.Sprintf("POST /v1/tokens HTTP/1.1\r\nHost: x\r\n%sExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", credential, len(body)))
	wantAnswer(t, in, 100, "")
	_, err := io.WriteString(conn, body)
	check(t, err)
	wantAnswer(t, in, 200, `{"token":"`)
}

// Chunks that are too long in all are refused when they are.
func TestChunksThatAreTooMany(t *testing.T) {
	addr, _ := serve(t)
	_, in := open(t, addr, "POST /v1/tokens HTTP/1.1\r\nHost: x\r\n"+credential+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat("8000\r\n"+strings.Repeat(" ", 0x8000)+"\r\n", 5))
	wantAnswer(t, in, 413, "invalid_request")
}

// The body of many messages may be longer than all others, in one piece or in chunks.
func TestTheBodyOfManyMessages(t *testing.T) {
	addr, _ := serve(t)
	const message, most = `{"channel":"devices/a","data":"`, 256 << 10
	long := message + strings.Repeat("x", 30<<10) + `"},`
	body := `{"messages":[` + strings.Repeat(long, 8) + message
	body += strings.Repeat("x", most-len(body)-len(`"}]}`)) + `"}]}`
	for _, path := range []string{"/v1/publish", "/v1/publish/"} {
		head := "POST " + path + " HTTP/1.1\r\nHost: x\r\n" + credential
		_, in := open(t, addr, fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body))
		wantAnswer(t, in, 200, strings.Repeat(`{"channel":"devices/a","subscribers":0},`, 8))
		_, in = open(t, addr, fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", head, len(body), body))
		wantAnswer(t, in, 200, `{"channel":"devices/a","subscribers":0}`)
		_, in = open(t, addr, fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, most+1))
		wantAnswer(t, in, 413, "262144")
		_, in = open(t, addr, fmt.Sprintf("%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s \r\n", head, most+1, body))
		wantAnswer(t, in, 413, "invalid_request")
	}
}

// The largest token there can be is minted from a body that spells it as Python does,
// each character beyond ASCII as \uXXXX.
func TestMintTheLargestToken(t *testing.T) {
	addr, _ := serve(t)
	object := func(size int) string { return `{"a":"` + strings.Repeat("x", size-len(`{"a":""}`)) + `"}` }
	for name, pattern := range map[string]string{
		"é":      "devices/" + strings.Repeat(`\u00e9`, 124),
		"quotes": "devices/" + strings.Repeat(`\"`, 248),
		"ASCII":  "devices/" + strings.Repeat("x", 248),
	} {
		body := `{"peerId": "a", "channels": ["` + strings.TrimSuffix(strings.Repeat(pattern+`", "`, 100), `, "`) + `], "permissions": [` +
			strings.Repeat(`"publish", `, 15) + `"send"], "metadata": ` + object(8<<10) + `, "peerMetadata": ` + object(4<<10) + `}`
		_, in := open(t, addr, fmt.Sprintf("POST /v1/tokens HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", credential, len(body), body))
		t.Run(name, func(t *testing.T) { wantAnswer(t, in, 200, `{"token":"`) })
	}
}
