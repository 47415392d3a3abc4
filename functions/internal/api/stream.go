package api

import (
	"context"
	"net/http"
	"time"
)

// sendPatience bounds how long a client takes to read what it is sent.
const sendPatience = 15 * time.Second

// Stream answers 200 with a body that comes bit by bit: write sends it, and returns at its end. gone ends when
// the client hangs up, and send fails then, or when the client does not read. The headers must be set. Where the
// server has a Stream of its own, as a fan-out node has, write runs on another goroutine, and Stream returns at once.
func Stream(w http.ResponseWriter, r *http.Request, write func(gone context.Context, send func([]byte) error)) {
	for one := w; ; {
		switch s := one.(type) {
		case interface {
			Stream(write func(gone context.Context, send func([]byte) error))
		}:
			s.Stream(write)
			return
		case interface{ Unwrap() http.ResponseWriter }:
			one = s.Unwrap()
			continue
		}
		break
	}
	controller := http.NewResponseController(w)
	write(r.Context(), func(p []byte) error {
		_ = controller.SetWriteDeadline(time.Now().Add(sendPatience)) // a server that can't has none
		if _, err := w.Write(p); err != nil {
			return err
		}
		return controller.Flush()
	})
}
