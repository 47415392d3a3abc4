package door

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/intake"
	"fleetwire/fanout/internal/session"
	"fleetwire/fanout/internal/tally"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/quota"
)

const (
	// headerBytes is room for the longest token in the URL, and for other headers.
	headerBytes = auth.MaxTokenBytes + 8<<10
	// bodyBytes is what is read of a REST body before 413, and longestBody that of
	// POST /v1/publish; the handlers' own limits (protocol §5) are at or below it.
	bodyBytes   = protocol.MaxTokenBodyBytes
	longestBody = protocol.MaxPublishBodyBytes
	// readTimeout bounds how long a request may take to arrive.
	readTimeout = 15 * time.Second
)

// Options are what a Door needs of its node.
type Options struct {
	Apps           *apps.Store
	TrustedProxies []netip.Prefix // networks whose X-Forwarded-For is believed
	Log            *slog.Logger
	Now            func() time.Time

	Limiter        Limiter
	Connections    Connections
	Sessions       Sessions
	SessionOptions *session.Options // for the sessions that the door makes
	Health         Health
	Metrics        Metrics
	Tally          *tally.Tally // of each app
	// Refused is called with each connection that gets no welcome, if the app's key signed its credential.
	// peer is "" if it is not known.
	Refused func(app, peer, key string, code int, reason string)
	// Console says that what is mounted serves the console (auth.VerifySession).
	Console bool
	// Live says whether a subscribe would succeed: Redis answers, and the node's
	// subscriptions are live.
	Live func() bool
	// Draining says whether the node goes away and lets no connection in.
	Draining func() bool
}

// Limiter counts how often each address connects: quota.RateLimiter.
type Limiter interface {
	AllowConnect(ctx context.Context, app, address string, perMinute int) (ok bool, retryAfter time.Duration, err error)
}

// Connections counts an app's concurrent connections, and knows revoked tokens:
// quota.Connections.
type Connections interface {
	Acquire(quota.Applicant)
}

// Sessions are the connections of the node.
type Sessions interface {
	// Enter counts a connection, until Leave, and numbers it. It refuses once the
	// node has drained.
	Enter() (id uint64, ok bool)
	Leave()
	// Add has the session served from its welcome on.
	Add(*session.Session)
}

// Health is whether Redis answers: redisconn.Health.
type Health interface {
	Up() bool
	Observe(error)
}

// Metrics count connects: telemetry.Metrics.
type Metrics interface {
	Connected()
	Refused(code int) // an HTTP status or a close code
}

// Door is a node's address for sockets and REST.
type Door struct {
	Options
	app    *fiber.App
	rest   http.Handler // nil: the node has no control plane
	opened openedLog
}

// New makes a Door. It serves nothing yet.
func New(opt Options) *Door {
	d := &Door{Options: opt, opened: openedLog{log: opt.Log}}
	d.app = fiber.New(fiber.Config{
		DisableStartupMessage:        true,
		CaseSensitive:                true,
		ReduceMemoryUsage:            true,
		DisablePreParseMultipartForm: true, // it would write files
		ReadBufferSize:               headerBytes,
		BodyLimit:                    bodyBytes,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 15 * time.Second,
		IdleTimeout:                  75 * time.Second,
		ErrorHandler:                 d.upgradeFailed,
	})
	d.app.Get("/v1", d.serveUpgrade)
	server := d.app.Server()
	// The socket stays open when the upgrade's handler returns: the session has it.
	server.KeepHijackedConns = true
	server.Handler = d.answer(d.app.Handler())
	server.HeaderReceived = d.beforeBody
	server.ErrorHandler = unreadable
	return d
}

// Mount has h answer every path but /v1. It must come before Serve.
func (d *Door) Mount(h http.Handler) { d.rest = h }

// HasREST says whether Mount was called.
func (d *Door) HasREST() bool { return d.rest != nil }

// Server is the HTTP server, for tests to shorten its timeouts before Serve.
func (d *Door) Server() *fasthttp.Server { return d.app.Server() }

// Serve accepts connections until Shutdown or an error of the listener.
func (d *Door) Serve(l net.Listener) error {
	server := d.app.Server()
	server.Logger = quiet{d.Log}
	patience := server.ReadTimeout
	return d.app.Listener(intake.Listen(impatient{l, patience}, headerBytes, longestBody, patience))
}

// Shutdown stops accepting, and waits for the requests under way until ctx ends.
func (d *Door) Shutdown(ctx context.Context) error { return d.app.ShutdownWithContext(ctx) }

// Close logs what the log of opened connections has not yet. It comes after the last
// connect.
func (d *Door) Close() { d.opened.end() }

// impatient gives a new connection patience to send its first byte. fasthttp
// sets its own deadlines from there on, but with ReduceMemoryUsage it would wait
// for that byte for ever.
type impatient struct {
	net.Listener
	patience time.Duration
}

func (l impatient) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		_ = conn.SetReadDeadline(time.Now().Add(l.patience))
	}
	return conn, err
}
