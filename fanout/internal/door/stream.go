package door

import (
	"bufio"
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"fleetwire/fanout/internal/intake"
)

// streams are what answers need that come bit by bit.
type streams struct {
	log *slog.Logger
	// patience bounds how long a client takes to read what it is sent.
	patience time.Duration
}

// Stream is api.Stream's: the body of the answer comes bit by bit. write runs on a goroutine of its own. gone ends
// when the client hangs up; send fails when the client does not read for so long that the server would give up an
// answer.
func (w *restWriter) Stream(write func(gone context.Context, send func([]byte) error)) {
	w.WriteHeader(http.StatusOK)
	conn, s := w.ctx.Conn(), w.streams
	w.ctx.Response.ImmediateHeaderFlush = true
	w.ctx.SetBodyStreamWriter(func(out *bufio.Writer) {
		defer func() { // fasthttp would not
			if p := recover(); p != nil {
				s.log.Error("a stream panicked", "panic", p, "stack", string(debug.Stack()))
			}
		}()
		gone, cancel := context.WithCancel(context.Background())
		defer cancel()
		if c, ok := conn.(*intake.Conn); ok {
			defer c.OnHangUp(cancel)()
		}
		write(gone, func(p []byte) error {
			_ = conn.SetWriteDeadline(time.Now().Add(s.patience))
			if _, err := out.Write(p); err != nil {
				return err
			}
			return out.Flush()
		})
	})
}
