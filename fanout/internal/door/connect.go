package door

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
	"unique"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn"
	"fleetwire/fanout/internal/session"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/clientaddr"
	"fleetwire/pkg/quota"
)

// decision bounds how long a connect may wait for its address's limit.
const decision = 10 * time.Second

// maxAgentBytes bounds what is kept of a User-Agent header.
const maxAgentBytes = 256

// connect is one connection on its way in (protocol §4.1). This file has its steps
// from top to bottom. Goroutines hand it on, each with its part:
//
//	serveUpgrade  the HTTP server's: credential, account, address limit, upgrade
//	upgraded      the HTTP server's for an upgraded socket: makes the session
//	registered    the receiver's: the connection is known as its peer's
//	admitted      the quota's: concurrency and revocations, then welcome
//
// Only the first waits for Redis, so that a fleet which comes back costs no stack
// for each of its devices.
type connect struct {
	*Door
	client    session.Client
	limitedAs string // what its connects count against

	key     *apps.Key            // whose secret signed the credential, or a publishable one; nil: none
	grant   *auth.Grant          // also with a refusal, if there is one: for the log
	refusal *protocol.CloseError // of the credential or the account
	answer  []byte               // to the upgrade request

	id      uint64 // 0: the node does not count it
	conn    *net.TCPConn
	early   []byte           // sent right behind the upgrade request
	session *session.Session // nil: not made yet
	taken   bool             // it has a place in the app's plan, which nothing else gives back yet
}

// serveUpgrade is the handler of GET /v1.
func (d *Door) serveUpgrade(c *fiber.Ctx) error {
	if !readHandshake(c) {
		return nil // answered
	}
	k := &connect{Door: d}
	k.readAddress(c)
	k.readCredential(c)
	if !k.withinLimit(c) {
		return nil // answered
	}
	return k.upgrade(c)
}

func (k *connect) readAddress(c *fiber.Ctx) {
	remote, _ := netip.ParseAddrPort(c.Context().RemoteAddr().String())
	address := clientaddr.Of(remote.Addr(), lines(c, fiber.HeaderXForwardedFor), k.TrustedProxies)
	k.client.Address, k.limitedAs = address.String(), clientaddr.Limited(address)
	agent := c.Get(fiber.HeaderUserAgent)
	k.client.UserAgent = unique.Make(strings.ToValidUTF8(strings.Clone(agent[:min(len(agent), maxAgentBytes)]), ""))
}

// readCredential judges credential and account. Its refusals are told after the
// upgrade, but it works before: the limit depends on the app, and this goroutine has a
// stack that serves one connection after the other. The one that upgraded runs on
// would have to grow for it, each time.
func (k *connect) readCredential(c *fiber.Ctx) {
	token, key := c.Query("token"), c.Query("key")
	if bearer, ok := auth.Bearer(c.Get(fiber.HeaderAuthorization)); ok && token == "" {
		token = bearer
	}
	switch {
	case token != "":
		k.key, k.grant, k.refusal = auth.VerifySigned(k.Apps.Current(), token, k.Now())
	case key != "":
		k.grant, k.refusal = auth.VerifyPublishable(k.Apps.Current(), key)
		if k.grant != nil {
			k.key = k.grant.Key
		}
	default:
		k.refusal = protocol.Closef(protocol.CloseInvalidCredential, "no credential: connect with ?token=<JWT> or ?key=<pk_…>")
	}
	k.grant, k.refusal = judge(k.grant, k.refusal, strings.Join(lines(c, fiber.HeaderOrigin), ", "))
}

// withinLimit holds back addresses that connect too often: it answers 429, and is
// false then. A connect counts against the app whose key signed its credential. All
// others count together, so that a key id alone cannot use up an app's connects, or a
// looser limit.
func (k *connect) withinLimit(c *fiber.Ctx) bool {
	if !k.Health.Up() {
		return true // refused with 1013 after the upgrade
	}
	appID, limit := "", apps.DefaultLimits().ConnectsPerAddressPerMin
	if k.key != nil {
		appID, limit = k.key.App.ID, k.key.App.Limits.ConnectsPerAddressPerMin
	}
	ctx, cancel := context.WithTimeout(context.Background(), decision)
	defer cancel()
	ok, retryAfter, err := k.Limiter.AllowConnect(ctx, appID, k.limitedAs, limit)
	if err != nil {
		k.Health.Observe(err)
		return true // likewise
	}
	if !ok {
		k.refused(http.StatusTooManyRequests, fmt.Sprintf("over %d connects per minute from this address", limit))
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(int(math.Ceil(retryAfter.Seconds()))))
		writeError(c.Context(), http.StatusTooManyRequests, protocol.Errorf(protocol.RateLimited, "over %d connects per minute from this address", limit))
	}
	return ok
}

// upgrade has contrib/websocket check the handshake and call upgraded. The answer is
// kept: the session writes it, together with its first frame.
func (k *connect) upgrade(c *fiber.Ctx) error {
	chooseSubprotocol(c)
	err := websocket.New(k.upgraded, websocket.Config{
		ReadBufferSize: 1, WriteBufferSize: 1, // unused: the session reads and writes the socket itself
	})(c)
	if c.Context().Hijacked() {
		k.answer = bytes.Clone(c.Response().Header.Header())
		c.Context().HijackSetNoResponse(true)
	}
	return err
}

// upgraded takes the socket over from fiber, and makes the session unless the
// connection is refused by now.
func (k *connect) upgraded(c *websocket.Conn) {
	defer k.recovered()
	var err error
	if k.conn, k.early, err = takeOver(c); err != nil {
		k.fail(err)
		return
	}
	var ok bool
	if k.id, ok = k.Sessions.Enter(); !ok { // the node has drained
		k.id = 0
		k.drop()
		return
	}
	if k.Draining() {
		k.refuse(protocol.Closef(protocol.CloseGoingAway, ""))
		return
	}
	if k.refusal != nil {
		k.refuse(k.refusal)
		return
	}
	if k.session, err = session.New(k.SessionOptions, k.id, k.grant, k.conn, k.client, k.early, k.answer); err != nil {
		k.fail(err)
		return
	}
	k.register()
}

// register makes the connection known as its peer's. That comes before the look at
// the revocations: a revocation after the look finds the connection to close.
func (k *connect) register() {
	if !k.Live() { // a subscribe would fail
		k.refuse(protocol.Closef(protocol.CloseTryLater, ""))
		return
	}
	if err := k.session.Register(k.registered); err != nil {
		k.refuse(protocol.Closef(protocol.CloseTryLater, ""))
	}
}

// registered takes a connection of the app's plan, if the token is not revoked.
func (k *connect) registered(err error) {
	defer k.recovered()
	if err != nil {
		go k.tryLater() // the receiver has to go on
		return
	}
	applicant := quota.Applicant{App: k.grant.App, IssuedAt: k.grant.IssuedAt, ExpiresAt: k.grant.ExpiresAt, Done: k.admitted}
	if !k.grant.Key.Publishable() {
		applicant.Peer = k.grant.Peer
	}
	k.Connections.Acquire(applicant)
}

// admitted welcomes the connection, unless the quota or a revocation is against it.
func (k *connect) admitted(err error) {
	defer k.recovered()
	switch {
	case err == nil:
		k.taken = true
		k.welcome()
	case errors.Is(err, quota.ErrRevoked):
		k.refuse(protocol.Closef(protocol.CloseInvalidCredential, "the token was revoked"))
	case errors.Is(err, quota.ErrConnectionLimit):
		k.refuse(protocol.Closef(protocol.CloseConnectionLimit, "the app has its %d connections", k.grant.App.Plan.MaxConcurrentConnections))
	default:
		k.Health.Observe(err)
		k.refuse(protocol.Closef(protocol.CloseTryLater, ""))
	}
}

// welcome begins the session.
func (k *connect) welcome() {
	s := k.session
	k.Metrics.Connected()
	k.Tally.Of(k.grant.App.ID).Connected()
	k.opened.tell(s.ID(), s.Grant(), k.client.Address)
	k.Sessions.Add(s)
	s.Reauthorize()   // the apps document may be another by now, and the node may not have seen this one
	if k.Draining() { // nor may the drain
		s.Close(protocol.Closef(protocol.CloseGoingAway, ""))
	}
	k.taken = false // the session gives it back from here on
	s.Start()
}

func (k *connect) tryLater() {
	defer k.recovered()
	k.refuse(protocol.Closef(protocol.CloseTryLater, ""))
}

// refuse closes an upgraded connection so that its peer can read why.
func (k *connect) refuse(why *protocol.CloseError) {
	k.refused(int(why.Code), cmp.Or(why.Reason, why.Code.Reason()))
	attrs := []any{"address", k.client.Address, "code", int(why.Code), "reason", cmp.Or(why.Reason, why.Code.Reason())}
	if k.grant != nil {
		attrs = append(attrs, "app", k.grant.App.ID, "peer", k.grant.Peer)
	}
	k.Log.Info("connection refused", attrs...)
	if k.session != nil {
		k.session.Refuse(why)
	} else if err := session.Refuse(k.SessionOptions, k.conn, k.early, k.answer, why); err != nil {
		k.fail(err)
	}
}

// refused counts a refusal. It is that of an app if the app's key signed the credential.
func (k *connect) refused(code int, reason string) {
	k.Metrics.Refused(code)
	if k.key == nil {
		return
	}
	k.Tally.Of(k.key.App.ID).Refused(code)
	peer := ""
	if k.grant != nil {
		peer = k.grant.Peer
	}
	k.Refused(k.key.App.ID, peer, k.key.ID, code, reason)
}

// recovered is deferred on each goroutine that a step begins on. A panic costs this
// connection alone; only the log says what it was.
func (k *connect) recovered() {
	p := recover()
	if p == nil {
		return
	}
	k.Log.Error("an upgrade panicked", "panic", p, "stack", string(debug.Stack()))
	if k.session != nil {
		if k.taken {
			k.SessionOptions.Left(k.session, conn.Ended{By: conn.ByServer, Code: protocol.CloseInternalError})
		}
		k.session.Refuse(protocol.Closef(protocol.CloseInternalError, ""))
		return
	}
	k.drop()
}

// fail drops a connection whose socket is of no use.
func (k *connect) fail(err error) {
	k.Log.Error("an upgraded connection could not be taken over", "err", err)
	k.drop()
}

// drop closes a connection without a word.
func (k *connect) drop() {
	if k.conn != nil {
		_ = k.conn.Close()
	}
	if k.id != 0 {
		k.Sessions.Leave()
	}
}
