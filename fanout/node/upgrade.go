package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/adaptor"
	fiberrecover "github.com/gofiber/fiber/v2/middleware/recover"

	"fleetwire/fanout/internal/session"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/protocol"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/revocation"
)

const (
	// headerBytes is room for the longest token in the URL, and for other headers;
	// fiber's own 4 KiB would answer 431.
	headerBytes = auth.MaxTokenBytes + 8<<10
	// bodyBytes is what is read of a REST body before 413; the handlers' own limit
	// (protocol §5) is below it.
	bodyBytes = 256 << 10
	// decision bounds how long a connect may wait for Redis.
	decision = 10 * time.Second
)

// newApp makes the fiber app: GET /v1 upgrades, everything else is the control
// plane's, if there is one.
func (n *Node) newApp() *fiber.App {
	app := fiber.New(fiber.Config{
		DisableStartupMessage: true,
		CaseSensitive:         true,
		StrictRouting:         true,
		ReduceMemoryUsage:     true,
		ReadBufferSize:        headerBytes,
		BodyLimit:             bodyBytes,
		ReadTimeout:           15 * time.Second,
		WriteTimeout:          15 * time.Second,
		IdleTimeout:           75 * time.Second,
		ErrorHandler:          errorHandler,
	})
	// The socket stays open when the upgrade's handler returns: the session has it.
	app.Server().KeepHijackedConns = true
	app.Use(fiberrecover.New(fiberrecover.Config{EnableStackTrace: true, StackTraceHandler: func(_ *fiber.Ctx, p any) {
		n.opt.Log.Error("a request panicked", "panic", p, "stack", string(debug.Stack()))
	}}))
	app.Get("/v1", n.limitConnects, websocket.New(n.upgraded, websocket.Config{
		ReadBufferSize: 1, WriteBufferSize: 1, // unused: the session reads and writes the socket itself
		RecoverHandler: func(*websocket.Conn) { n.logPanic(recover()) }, // its own would tell the client
	}))
	app.Use(func(c *fiber.Ctx) error {
		if n.controlPlane == nil || c.Path() == "/v1" {
			return nothingHere(c)
		}
		return adaptor.HTTPHandler(n.controlPlane)(c)
	})
	return app
}

// limitConnects holds back addresses that connect too often, before the upgrade.
func (n *Node) limitConnects(c *fiber.Ctx) error {
	if !websocket.IsWebSocketUpgrade(c) {
		c.Set(fiber.HeaderUpgrade, "websocket")
		return writeError(c, http.StatusUpgradeRequired, protocol.Errorf(protocol.InvalidRequest, "this is a WebSocket endpoint: connect with ws:// or wss:// and ?token= or ?key="))
	}
	remote, _ := netip.ParseAddrPort(c.Context().RemoteAddr().String())
	var forwardedFor []string
	for _, v := range c.Request().Header.PeekAll(fiber.HeaderXForwardedFor) {
		forwardedFor = append(forwardedFor, string(v))
	}
	address := clientAddress(remote.Addr(), forwardedFor, n.opt.TrustedProxies)
	c.Locals("address", address.String())
	c.Locals("origin", string(bytes.Join(c.Request().Header.PeekAll(fiber.HeaderOrigin), []byte(", "))))

	if !n.health.Up() {
		return c.Next() // refused with 1013 after the upgrade
	}
	appID, limit := "", apps.DefaultLimits().ConnectsPerAddressPerMin
	if key, ok := n.opt.Apps.Current().Key(claimedKeyID(c.Query("token"), c.Query("key"), c.Get(fiber.HeaderAuthorization))); ok {
		appID, limit = key.App.ID, key.App.Limits.ConnectsPerAddressPerMin
	}
	ctx, cancel := context.WithTimeout(context.Background(), decision)
	defer cancel()
	ok, retryAfter, err := n.limiter.AllowConnect(ctx, appID, limitedAs(address), limit)
	if err != nil {
		n.health.Observe(err)
		return c.Next()
	}
	if !ok {
		n.metrics.Refused(http.StatusTooManyRequests)
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(retryAfter.Seconds()))))
		return writeError(c, http.StatusTooManyRequests, protocol.Errorf(protocol.RateLimited, "over %d connects per minute from this address", limit))
	}
	return c.Next()
}

// claimedKeyID is the key that a credential says it is from, unchecked.
func claimedKeyID(token, key, authorization string) string {
	if bearer, ok := auth.Bearer(authorization); ok && token == "" {
		token = bearer
	}
	if token != "" {
		return auth.ClaimedKeyID(token)
	}
	return strings.Clone(key)
}

// upgraded takes the socket over from fiber: credential → account → concurrency →
// session (protocol §4.1). Everything that fiber and contrib/websocket hold for
// the connection is free again when it returns.
func (n *Node) upgraded(c *websocket.Conn) {
	conn, early, err := takeOver(c)
	if err != nil {
		n.opt.Log.Error("an upgraded connection could not be taken over", "err", err)
		return
	}
	if !n.sessions.enter() {
		_ = conn.Close() // the node has drained
		return
	}
	if !n.admission(c, conn, early) {
		_ = conn.Close()
		n.sessions.running.Done()
	}
}

// logPanic says in the log, and to nobody else, that an upgrade panicked.
func (n *Node) logPanic(p any) {
	if p != nil {
		n.opt.Log.Error("an upgrade panicked", "panic", p, "stack", string(debug.Stack()))
	}
}

// admission decides about an upgraded connection, and hands it to what serves it
// until it is closed (ended): a session or a refusal. It says whether it could.
func (n *Node) admission(c *websocket.Conn, conn *net.TCPConn, early []byte) (taken bool) {
	var s *session.Session
	var err error
	defer func() {
		if p := recover(); p != nil {
			n.logPanic(p)
			if taken = s != nil; taken {
				s.Refuse(protocol.Closef(protocol.CloseInternalError, ""))
			}
		}
	}()
	address, _ := c.Locals("address").(string)
	grant, refused := n.authorize(c)
	if refused != nil {
		n.logRefusal(address, grant, refused)
		return session.Refuse(n.sessionOptions, conn, early, refused) == nil
	}
	s, err = session.New(n.sessionOptions, n.nextConnection.Add(1), grant, conn, address, early)
	if err != nil {
		n.opt.Log.Error("an upgraded connection could not be taken over", "err", err)
		return false
	}
	if refused := n.admit(s, grant); refused != nil {
		n.logRefusal(address, grant, refused)
		s.Refuse(refused)
		return true
	}
	n.metrics.Connected()
	n.sessions.add(s)
	s.Follow()             // the apps document may be another by now, and follow may not have seen this one
	if n.draining.Load() { // nor drain
		s.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	}
	s.Start()
	return true
}

// left is called when a session takes part in nothing any more.
func (n *Node) left(s *session.Session) {
	n.sessions.remove(s)
	n.connections.Release(s.Grant().App.ID)
}

// ended is called when a connection, refused or not, is closed.
func (n *Node) ended(s *session.Session, how session.Ended) {
	defer n.sessions.running.Done()
	if !s.Refused() {
		n.metrics.Ended(how.By, int(how.Code))
	}
}

// takeOver gets the TCP socket out of the wrappings, and what the client has
// already sent on it out of their buffers.
func takeOver(c *websocket.Conn) (*net.TCPConn, []byte, error) {
	wrapped := c.NetConn()
	unwrap, ok := wrapped.(interface{ UnsafeConn() net.Conn })
	if !ok {
		_ = wrapped.Close()
		return nil, nil, errors.New("the connection is not one of fasthttp")
	}
	conn, ok := unwrap.UnsafeConn().(*net.TCPConn)
	if !ok {
		_ = wrapped.Close()
		return nil, nil, errors.New("the connection is not TCP")
	}
	// With a deadline in the past, only what is buffered can be read.
	_ = conn.SetReadDeadline(time.Unix(1, 0))
	early, _ := io.ReadAll(wrapped)
	_ = conn.SetReadDeadline(time.Time{})
	return conn, early, nil
}

func (n *Node) authorize(c *websocket.Conn) (*auth.Grant, *protocol.CloseError) {
	if n.draining.Load() {
		return nil, protocol.Closef(protocol.CloseGoingAway, "")
	}
	token := c.Query("token")
	if bearer, ok := auth.Bearer(c.Headers(fiber.HeaderAuthorization)); ok && token == "" {
		token = bearer
	}
	origin, _ := c.Locals("origin").(string)
	switch {
	case token != "":
		return n.verify(token, origin)
	case c.Query("key") != "":
		grant, refused := auth.VerifyPublishable(n.opt.Apps.Current(), c.Query("key"))
		return judge(grant, refused, origin)
	default:
		return nil, protocol.Closef(protocol.CloseInvalidCredential, "no credential: connect with ?token=<JWT> or ?key=<pk_…>")
	}
}

// verify says what a token grants to a connection with this Origin header, at
// connect or on a refresh.
func (n *Node) verify(token, origin string) (*auth.Grant, *protocol.CloseError) {
	grant, refused := auth.VerifyToken(n.opt.Apps.Current(), token, n.opt.Now())
	return judge(grant, refused, origin)
}

// judge looks at the origin and the account of a credential that is good. With a
// refusal comes the grant that is refused, if there is one, for the log.
func judge(grant *auth.Grant, refused *protocol.CloseError, origin string) (*auth.Grant, *protocol.CloseError) {
	if refused != nil {
		return grant, refused
	}
	bound, refused := grant.For(origin)
	switch {
	case refused != nil:
		return grant, refused
	case bound.App.Suspended:
		return bound, protocol.Closef(protocol.CloseSuspended, "")
	}
	return bound, nil
}

// admit makes the connection known as its peer's, looks whether its token was
// revoked, and takes a connection of the app's plan. Known comes first: who
// revokes after the look finds the connection to close.
func (n *Node) admit(s *session.Session, grant *auth.Grant) *protocol.CloseError {
	if !n.health.Up() || !n.broker.Live() || !n.members.Live() { // a subscribe would fail
		return protocol.Closef(protocol.CloseTryLater, "")
	}
	ctx, cancel := context.WithTimeout(context.Background(), decision)
	defer cancel()
	known := make(chan error, 1)
	err := s.Register(func(err error) { known <- err })
	if err == nil {
		select {
		case err = <-known:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		return protocol.Closef(protocol.CloseTryLater, "")
	}
	if !grant.Key.Publishable() {
		until, err := n.revocations.Since(ctx, grant.App.ID, grant.Peer)
		if err != nil {
			n.health.Observe(err)
			return protocol.Closef(protocol.CloseTryLater, "")
		}
		if revocation.Revokes(until, grant) {
			return protocol.Closef(protocol.CloseInvalidCredential, "the token was revoked")
		}
		s.RevokedUntil(until)
	}
	switch err := n.connections.Acquire(ctx, grant.App); {
	case err == nil:
		return nil
	case errors.Is(err, quota.ErrConnectionLimit):
		return protocol.Closef(protocol.CloseConnectionLimit, "the app has its %d connections", grant.App.Plan.MaxConcurrentConnections)
	default:
		n.health.Observe(err)
		return protocol.Closef(protocol.CloseTryLater, "")
	}
}

func (n *Node) logRefusal(address string, grant *auth.Grant, why *protocol.CloseError) {
	n.metrics.Refused(int(why.Code))
	attrs := []any{"address", address, "code", int(why.Code), "reason", cmp.Or(why.Reason, why.Code.Reason())}
	if grant != nil {
		attrs = append(attrs, "app", grant.App.ID, "peer", grant.Peer)
	}
	n.opt.Log.Info("connection refused", attrs...)
}
