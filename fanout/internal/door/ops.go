package door

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"fleetwire/fanout/internal/intake"
)

const (
	opsHeaderBytes = 16 << 10
	opsReadTimeout = 5 * time.Second
	// opsWriteTimeout bounds how long an answer may take to be read.
	opsWriteTimeout = 15 * time.Second
)

// Ops is a node's operations address. It takes HTTP as strictly as a Door does, and
// refuses the rest in the same form; net/http would do so in plain text.
type Ops struct{ server *fasthttp.Server }

// NewOps makes an Ops that has h answer. No body is read.
func NewOps(h http.Handler, log *slog.Logger) *Ops {
	return &Ops{&fasthttp.Server{
		Handler: func(ctx *fasthttp.RequestCtx) {
			defer recoverRequest(ctx, log)
			path, query := splitTarget(string(ctx.Request.Header.RequestURI()))
			serveHTTP(h, ctx, path, query, streams{log, opsWriteTimeout})
		},
		HeaderReceived: func(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
			if length := h.ContentLength(); length > 0 || length == -1 {
				leaveBody(h)
			}
			return fasthttp.RequestConfig{}
		},
		ErrorHandler:                 unreadable,
		Logger:                       quiet{log},
		NoDefaultServerHeader:        true,
		DisablePreParseMultipartForm: true,
		ReduceMemoryUsage:            true,
		ReadBufferSize:               opsHeaderBytes,
		ReadTimeout:                  opsReadTimeout,
		WriteTimeout:                 opsWriteTimeout,
		IdleTimeout:                  75 * time.Second,
	}}
}

// Serve accepts connections until Close.
func (o *Ops) Serve(l net.Listener) error {
	return o.server.Serve(intake.Listen(impatient{l, opsReadTimeout}, opsHeaderBytes, 0, opsReadTimeout))
}

// Close stops accepting, and gives requests under way a moment.
func (o *Ops) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 250*time.Millisecond)
	defer cancel()
	return o.server.ShutdownWithContext(ctx)
}
