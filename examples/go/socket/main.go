// Socket opens a WebSocket, for trying the protocol out by hand: it subscribes
// to what it is told to, prints each frame that comes on a line of its own, and
// sends each line that is typed as a frame.
//
//	go run ./examples/go/socket -token "$TOKEN" -subscribe devices/camera-001/commands
//	{"type":"publish","channel":"devices/camera-001/events","data":{"event":"motion"}}
//
// FLEETWIRE_URL is the service, http://127.0.0.1:8080 by default.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

func main() {
	token := flag.String("token", "", "the `JWT` to connect with")
	key := flag.String("key", "", "a publishable key `id` (pk_…) in its place")
	var channels []string
	flag.Func("subscribe", "a `channel` or a pattern; may be given several times", func(c string) error {
		channels = append(channels, c)
		return nil
	})
	flag.Parse()
	if (*token == "") == (*key == "") {
		fmt.Fprintln(os.Stderr, "socket: give it a -token, or a publishable -key")
		os.Exit(2)
	}
	base := strings.TrimSuffix(cmp.Or(os.Getenv("FLEETWIRE_URL"), "http://127.0.0.1:8080"), "/")
	if err := run("ws"+strings.TrimPrefix(base, "http")+"/v1", *token, *key, channels); err != nil {
		fmt.Fprintln(os.Stderr, "socket:", err)
		os.Exit(1)
	}
}

func run(address, token, key string, channels []string) error {
	dialer := ws.Dialer{Timeout: 10 * time.Second}
	if token != "" {
		dialer.Header = ws.HandshakeHeaderHTTP{"Authorization": {"Bearer " + token}}
	} else {
		address += "?key=" + url.QueryEscape(key) // public: it may be in a URL
	}
	conn, br, _, err := dialer.Dial(context.Background(), address)
	if err != nil {
		return err
	}
	defer conn.Close()
	// The first frames may have come with the handshake's answer.
	in := io.Reader(conn)
	if br != nil {
		in = br
	}

	for _, channel := range channels {
		frame, err := json.Marshal(map[string]string{"type": "subscribe", "channel": channel, "requestId": channel})
		if err != nil {
			return err
		}
		if err := send(conn, frame); err != nil {
			return err
		}
	}
	go func() {
		for typed := bufio.NewScanner(os.Stdin); typed.Scan(); {
			if err := send(conn, typed.Bytes()); err != nil {
				fmt.Fprintln(os.Stderr, "socket:", err)
				return
			}
		}
	}()
	for {
		frame, err := wsutil.ReadServerText(struct {
			io.Reader
			io.Writer
		}{in, conn})
		if closed := (wsutil.ClosedError{}); errors.As(err, &closed) {
			return fmt.Errorf("the service closed the connection: %d %s", closed.Code, closed.Reason)
		}
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", frame)
	}
}

// send makes one Write of the frame, so that it can't mix with a pong that the
// reading side sends at the same time. Clients must mask (RFC 6455 §5.3).
func send(conn net.Conn, text []byte) error {
	frame, err := ws.CompileFrame(ws.MaskFrame(ws.NewTextFrame(text)))
	if err != nil {
		return err
	}
	_, err = conn.Write(frame)
	return err
}
