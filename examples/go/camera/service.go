package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// The service pings every 25 s: a connection that is quiet for so long is dead.
const silence = 75 * time.Second

type service struct{ baseURL, secretKey string }

// mint asks for a token for exactly these channels.
func (s service) mint(ctx context.Context, peer string, channels []string) (string, error) {
	body, err := json.Marshal(map[string]any{"peerId": peer, "channels": channels, "permissions": []string{"publish", "subscribe"}})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.baseURL+"/v1/tokens", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Authorization", "Bearer "+s.secretKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("POST /v1/tokens: %s: %s", resp.Status, answer)
	}
	var minted struct{ Token string }
	if err := json.Unmarshal(answer, &minted); err != nil {
		return "", fmt.Errorf("POST /v1/tokens: %w", err)
	}
	return minted.Token, nil
}

type conn struct {
	net.Conn
	buffered io.Reader // what came with the handshake's answer, then the rest
}

// dial opens the WebSocket. The token goes in a header, not in the URL: URLs end
// up in logs.
func (s service) dial(ctx context.Context, token string) (*conn, error) {
	dialer := ws.Dialer{
		Timeout: 10 * time.Second,
		Header:  ws.HandshakeHeaderHTTP{"Authorization": {"Bearer " + token}},
	}
	c, br, _, err := dialer.Dial(ctx, "ws"+strings.TrimPrefix(s.baseURL, "http")+"/v1")
	if err != nil {
		return nil, err
	}
	if br == nil {
		return &conn{c, c}, nil
	}
	return &conn{c, br}, nil
}

// Read moves the deadline with every sign of life, pings included.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	return c.buffered.Read(p)
}

// frames reads until the connection ends, and says why, or until ctx ends.
// ReadServerData answers pings and the service's close frame by itself.
func (c *conn) frames(ctx context.Context) (<-chan frame, <-chan error) {
	frames, end := make(chan frame), make(chan error, 1)
	go func() {
		for {
			data, _, err := wsutil.ReadServerData(c)
			if err != nil {
				end <- err
				return
			}
			var f frame
			if err := json.Unmarshal(data, &f); err != nil {
				end <- fmt.Errorf("a frame that is not JSON: %w", err)
				return
			}
			select {
			case frames <- f:
			case <-ctx.Done():
				return
			}
		}
	}()
	return frames, end
}

func (c *conn) send(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.write(ws.NewTextFrame(b))
}

// write sends the frame in one Write, so that it can't mix with a pong that the
// reading goroutine sends at the same time. Clients must mask (RFC 6455 §5.3).
func (c *conn) write(f ws.Frame) error {
	b, err := ws.CompileFrame(ws.MaskFrameInPlace(f))
	if err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err = c.Conn.Write(b)
	return err
}
