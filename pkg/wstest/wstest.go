// Package wstest is what tests need of WebSocket frames beside gobwas/ws.
package wstest

import (
	"fmt"
	"io"

	"github.com/gobwas/ws"
)

// maxPayload is more than any frame of the service holds.
const maxPayload = 16 << 20

// ReadFrame reads one frame of any kind, without unmasking it.
func ReadFrame(r io.Reader) (ws.Frame, error) {
	h, err := ws.ReadHeader(r)
	if err != nil {
		return ws.Frame{}, err
	}
	if h.Length > maxPayload {
		return ws.Frame{}, fmt.Errorf("a frame of %d bytes", h.Length)
	}
	f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}
