package node

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"

	"fleetwire/fanout/internal/intake"
	"fleetwire/fanout/internal/session"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/protocol"
	"fleetwire/pkg/quota"
)

const (
	// headerBytes is room for the longest token in the URL, and for other headers.
	headerBytes = auth.MaxTokenBytes + 8<<10
	// bodyBytes is what is read of a REST body before 413; the handlers' own limits
	// (protocol §5) are at or below it.
	bodyBytes = protocol.MaxTokenBodyBytes
	// readTimeout bounds how long a request may take to arrive.
	readTimeout = 15 * time.Second
	// decision bounds how long a connect may wait for its address's limit.
	decision = 10 * time.Second
)

// newApp makes the fiber app, which upgrades GET /v1, and its server, which takes
// all requests.
func (n *Node) newApp() *fiber.App {
	app := fiber.New(fiber.Config{
		DisableStartupMessage:        true,
		CaseSensitive:                true,
		ReduceMemoryUsage:            true,
		DisablePreParseMultipartForm: true, // it would write files
		ReadBufferSize:               headerBytes,
		BodyLimit:                    bodyBytes,
		ReadTimeout:                  readTimeout,
		WriteTimeout:                 15 * time.Second,
		IdleTimeout:                  75 * time.Second,
		ErrorHandler:                 n.upgradeFailed,
	})
	app.Get("/v1", n.arrive, n.limitConnects, websocket.New(n.upgraded, websocket.Config{
		ReadBufferSize: 1, WriteBufferSize: 1, // unused: the session reads and writes the socket itself
		RecoverHandler: func(*websocket.Conn) { n.logPanic(recover()) }, // its own would tell the client
	}))
	server := app.Server()
	// The socket stays open when the upgrade's handler returns: the session has it.
	server.KeepHijackedConns = true
	server.Handler = n.answer(app.Handler())
	server.HeaderReceived = n.beforeBody
	server.ErrorHandler = unreadable
	return app
}

// arrive reads who connects, with what credential, and judges it. Its refusals
// come after the upgrade (protocol §4.1), but it works before: this goroutine has
// a stack that serves one connection after the other. The one that upgraded runs
// on would have to grow for it, each time.
func (n *Node) arrive(c *fiber.Ctx) error {
	if !readUpgrade(c) {
		return nil // answered
	}
	remote, _ := netip.ParseAddrPort(c.Context().RemoteAddr().String())
	address := clientAddress(remote.Addr(), lines(c, fiber.HeaderXForwardedFor), n.opt.TrustedProxies)
	a := &arrival{address: address.String(), limitedAs: limitedAs(address)}
	c.Locals(arrivalLocal, a)
	token, key := c.Query("token"), c.Query("key")
	if bearer, ok := auth.Bearer(c.Get(fiber.HeaderAuthorization)); ok && token == "" {
		token = bearer
	}
	origin := strings.Join(lines(c, fiber.HeaderOrigin), ", ")
	switch {
	case token != "":
		a.key, a.grant, a.refused = auth.VerifySigned(n.opt.Apps.Current(), token, n.opt.Now())
	case key != "":
		a.grant, a.refused = auth.VerifyPublishable(n.opt.Apps.Current(), key)
		if a.grant != nil {
			a.key = a.grant.Key
		}
	default:
		a.refused = protocol.Closef(protocol.CloseInvalidCredential, "no credential: connect with ?token=<JWT> or ?key=<pk_…>")
	}
	a.grant, a.refused = judge(a.grant, a.refused, origin)
	return c.Next()
}

// readUpgrade answers what is no upgrade, and is false then. What may be a list, and
// on several lines (RFC 9110 §5.3), it puts where the upgrade looks for it.
func readUpgrade(c *fiber.Ctx) bool {
	ctx := c.Context()
	offered := strings.Join(lines(c, fiber.HeaderSecWebSocketProtocol), ",")
	if offered != "" {
		ctx.Request.Header.Set(fiber.HeaderSecWebSocketProtocol, offered)
	}
	for name, wanted := range map[string]string{fiber.HeaderConnection: "Upgrade", fiber.HeaderUpgrade: "websocket"} {
		for member := range strings.SplitSeq(strings.Join(lines(c, name), ","), ",") {
			if strings.EqualFold(strings.Trim(member, " \t"), wanted) {
				ctx.Request.Header.Set(name, wanted)
				break
			}
		}
	}
	conn, _ := ctx.Conn().(*intake.Conn)
	switch {
	case !websocket.IsWebSocketUpgrade(c):
		notAnUpgrade(ctx)
	case conn != nil && conn.BodyLength() != 0: // it would be taken for frames
		writeError(ctx, http.StatusBadRequest, protocol.Errorf(protocol.InvalidRequest, "a WebSocket upgrade has no body; send none"))
	case len(lines(c, fiber.HeaderAuthorization)) > 1:
		writeError(ctx, http.StatusBadRequest, protocol.Errorf(protocol.InvalidRequest, "the request has two Authorization headers; send one"))
	default:
		return true
	}
	return false
}

// chooseSubprotocol answers with the first subprotocol that the client offers:
// clients that offer some give up if none is chosen.
func chooseSubprotocol(c *fiber.Ctx) {
	first, _, _ := strings.Cut(c.Get(fiber.HeaderSecWebSocketProtocol), ",")
	if first = strings.TrimSpace(first); isToken(first) {
		c.Set(fiber.HeaderSecWebSocketProtocol, first)
	}
}

// lines are the values of a header that may come several times.
func lines(c *fiber.Ctx, name string) (values []string) {
	for _, v := range c.Request().Header.PeekAll(name) {
		values = append(values, string(v))
	}
	return values
}

// isToken knows RFC 9110 §5.6.2.
func isToken(s string) bool {
	return s != "" && strings.Trim(s, "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

// limitConnects holds back addresses that connect too often, before the upgrade. A
// connect counts against the app whose key signed its credential. All others count
// together, so that nobody uses up an app's connects, or a looser limit, by a key
// id alone.
func (n *Node) limitConnects(c *fiber.Ctx) error {
	a := c.Locals(arrivalLocal).(*arrival)
	if n.health.Up() { // else refused with 1013 after the upgrade
		appID, limit := "", apps.DefaultLimits().ConnectsPerAddressPerMin
		if a.key != nil {
			appID, limit = a.key.App.ID, a.key.App.Limits.ConnectsPerAddressPerMin
		}
		ctx, cancel := context.WithTimeout(context.Background(), decision)
		defer cancel()
		ok, retryAfter, err := n.limiter.AllowConnect(ctx, appID, a.limitedAs, limit)
		if err != nil {
			n.health.Observe(err)
		} else if !ok {
			n.metrics.Refused(http.StatusTooManyRequests)
			c.Set(fiber.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(retryAfter.Seconds()))))
			writeError(c.Context(), http.StatusTooManyRequests, protocol.Errorf(protocol.RateLimited, "over %d connects per minute from this address", limit))
			return nil
		}
	}
	chooseSubprotocol(c)
	err := c.Next()
	if c.Context().Hijacked() {
		// The session writes it, together with the first frame.
		a.answer = bytes.Clone(c.Response().Header.Header())
		c.Context().HijackSetNoResponse(true)
	}
	return err
}

// arrival is what is known of a connection before its upgrade.
type arrival struct {
	address   string               // the client's
	limitedAs string               // what its connects count against
	key       *apps.Key            // whose secret signed the credential, or a publishable one; nil: none
	grant     *auth.Grant          // also with a refusal, if there is one: for the log
	refused   *protocol.CloseError // to be told after the upgrade
	answer    []byte               // to the upgrade request
}

const arrivalLocal = "arrival"

// upgraded takes the socket over from fiber: concurrency → session (protocol
// §4.1). Everything that fiber and contrib/websocket hold for the connection is
// free again when it returns.
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
	a, _ := c.Locals(arrivalLocal).(*arrival)
	if !n.admission(a, conn, early) {
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
func (n *Node) admission(a *arrival, conn *net.TCPConn, early []byte) (taken bool) {
	defer func() {
		if p := recover(); p != nil {
			n.logPanic(p)
		}
	}()
	if n.draining.Load() {
		a.refused = protocol.Closef(protocol.CloseGoingAway, "")
	}
	if a.refused != nil {
		n.logRefusal(a.address, a.grant, a.refused)
		return session.Refuse(n.sessionOptions, conn, early, a.answer, a.refused) == nil
	}
	s, err := session.New(n.sessionOptions, n.nextConnection.Add(1), a.grant, conn, a.address, early, a.answer)
	if err != nil {
		n.opt.Log.Error("an upgraded connection could not be taken over", "err", err)
		return false
	}
	n.admit(s, a.address)
	return true
}

// admit makes the connection known as its peer's, and takes a connection of the
// app's plan, if its token is not revoked; then comes admitted. Known comes first:
// who revokes after the look finds the connection to close. Nobody waits for Redis
// here, so that a fleet which comes back costs no stack for each of its devices.
func (n *Node) admit(s *session.Session, address string) {
	defer n.refusePanicked(s)
	tryLater := protocol.Closef(protocol.CloseTryLater, "")
	if !n.health.Up() || !n.broker.Live() || !n.members.Live() { // a subscribe would fail
		n.admitted(s, address, tryLater)
		return
	}
	grant := s.Grant()
	applicant := quota.Applicant{App: grant.App, IssuedAt: grant.IssuedAt, ExpiresAt: grant.ExpiresAt, Done: func(err error) {
		switch {
		case err == nil:
			n.admitted(s, address, nil)
		case errors.Is(err, quota.ErrRevoked):
			n.admitted(s, address, protocol.Closef(protocol.CloseInvalidCredential, "the token was revoked"))
		case errors.Is(err, quota.ErrConnectionLimit):
			n.admitted(s, address, protocol.Closef(protocol.CloseConnectionLimit, "the app has its %d connections", grant.App.Plan.MaxConcurrentConnections))
		default:
			n.health.Observe(err)
			n.admitted(s, address, tryLater)
		}
	}}
	if !grant.Key.Publishable() {
		applicant.Peer = grant.Peer
	}
	err := s.Register(func(err error) {
		if err != nil {
			go n.admitted(s, address, tryLater) // the broker has to go on
			return
		}
		n.connections.Acquire(applicant)
	})
	if err != nil {
		n.admitted(s, address, tryLater)
	}
}

// admitted begins the session, or refuses it.
func (n *Node) admitted(s *session.Session, address string, refused *protocol.CloseError) {
	defer n.refusePanicked(s)
	if refused != nil {
		n.logRefusal(address, s.Grant(), refused)
		s.Refuse(refused)
		return
	}
	n.metrics.Connected()
	n.connected.tell(s.ID(), s.Grant(), address)
	n.sessions.add(s)
	s.Follow()             // the apps document may be another by now, and follow may not have seen this one
	if n.draining.Load() { // nor drain
		s.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	}
	s.Start()
}

// refusePanicked is deferred where a connection is let in.
func (n *Node) refusePanicked(s *session.Session) {
	if p := recover(); p != nil {
		n.logPanic(p)
		s.Refuse(protocol.Closef(protocol.CloseInternalError, ""))
	}
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
// already sent on it.
func takeOver(c *websocket.Conn) (*net.TCPConn, []byte, error) {
	wrapped := c.NetConn()
	if unwrap, ok := wrapped.(interface{ UnsafeConn() net.Conn }); ok {
		if conn, ok := unwrap.UnsafeConn().(*intake.Conn); ok {
			tcp, early := conn.Take()
			return tcp, early, nil
		}
	}
	_ = wrapped.Close()
	return nil, nil, errors.New("the connection is not one that the node accepted")
}

// verify says what a token grants to a connection with this Origin header, at
// connect or on a refresh.
func (n *Node) verify(token, origin string) (*auth.Grant, *protocol.CloseError) {
	grant, refused := auth.VerifyToken(n.opt.Apps.Current(), token, n.opt.Now())
	return judge(grant, refused, origin)
}

// refreshPatience bounds how long a refresh waits for Redis.
const refreshPatience = 2 * time.Second

// revoked asks Redis whether the token of a grant that is to replace a live
// connection's was revoked. done is called once, from another goroutine.
func (n *Node) revoked(g *auth.Grant, done func(revoked bool, err error)) {
	var once sync.Once
	late := time.AfterFunc(refreshPatience, func() {
		once.Do(func() { done(false, context.DeadlineExceeded) })
	})
	n.connections.Acquire(quota.Applicant{Held: true, App: g.App, Peer: g.Peer, IssuedAt: g.IssuedAt, ExpiresAt: g.ExpiresAt, Done: func(err error) {
		late.Stop()
		revoked := errors.Is(err, quota.ErrRevoked)
		if revoked {
			err = nil
		}
		// By itself: a grant takes time, and others wait for their answers.
		go once.Do(func() { done(revoked, err) })
	}})
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

func (n *Node) logRefusal(address string, grant *auth.Grant, why *protocol.CloseError) {
	n.metrics.Refused(int(why.Code))
	attrs := []any{"address", address, "code", int(why.Code), "reason", cmp.Or(why.Reason, why.Code.Reason())}
	if grant != nil {
		attrs = append(attrs, "app", grant.App.ID, "peer", grant.Peer)
	}
	n.opt.Log.Info("connection refused", attrs...)
}
