package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
)

const (
	// handshakeTimeout bounds connecting, and then again the wait for the welcome.
	handshakeTimeout = 15 * time.Second
	tokenTimeout     = 30 * time.Second
)

// dial opens the WebSocket. The token goes in a header, not in the URL: URLs end
// up in logs.
func (c *Client) dial(ctx context.Context, token string) (*link, error) {
	var conn *pulse
	var refused *Error
	dialer := ws.Dialer{
		Timeout: handshakeTimeout, NetDial: c.opt.DialContext, TLSConfig: c.opt.TLS,
		WrapConn: func(raw net.Conn) net.Conn {
			conn = &pulse{Conn: raw}
			return conn
		},
		OnStatusError: func(status int, _ []byte, answer io.Reader) {
			refused = &Error{Status: status, Message: "an answer that is no HTTP"}
			if r, err := http.ReadResponse(bufio.NewReader(answer), nil); err == nil {
				defer r.Body.Close()
				refused = refusal(status, r.Header, r.Body)
			}
		},
	}
	if token != "" {
		dialer.Header = ws.HandshakeHeaderHTTP{"Authorization": {"Bearer " + token}}
	}
	_, early, _, err := dialer.Dial(ctx, c.address)
	switch {
	case refused != nil:
		return nil, refused
	case err != nil:
		return nil, fmt.Errorf("connecting failed: %w", err)
	}
	// Bytes that came with the handshake's answer are in early; the rest follows.
	in := io.Reader(conn)
	if early != nil {
		in = early
	}
	return newLink(conn, in, c.opt.FramesPerSecond), nil
}

// awaitWelcome reads the first frame, which is a welcome or, as a close code, a
// refusal (protocol §4.1).
func (l *link) awaitWelcome() error {
	l.conn.silence = handshakeTimeout
	b, err := l.next()
	if err != nil {
		return err
	}
	f, err := parseServerFrame(b)
	if err != nil || f.Type != "welcome" {
		return errors.New("the first frame is not a welcome; is the URL right?")
	}
	l.welcome = f.welcome()
	l.conn.silence = protocol.InactivityLimit
	return nil
}

// currentToken returns the token to connect with, and asks for one if there is none.
func (c *Client) currentToken(ctx context.Context) (string, error) {
	if c.token != "" || c.opt.Token == nil {
		return c.token, nil
	}
	token, err := c.askToken(ctx)
	c.token = token
	return token, err
}

func (c *Client) askToken(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
	defer cancel()
	token, err := c.opt.Token(ctx)
	if err != nil {
		return "", fmt.Errorf("no token: %w", err)
	}
	if token == "" {
		return "", errors.New("no token: it is empty")
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return "", fmt.Errorf("the token is no JWT: byte 0x%02X at %d", token[i], i)
		}
	}
	return token, nil
}
