package door

import (
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"

	"fleetwire/fanout/internal/intake"
)

// readHandshake answers a request that is no upgrade, and is false then. Headers that
// may be lists, and on several lines (RFC 9110 §5.3), it puts where the upgrade looks
// for them.
func readHandshake(c *fiber.Ctx) bool {
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
	if !websocket.IsWebSocketUpgrade(c) {
		notAnUpgrade(ctx)
		return false
	}
	if fault := handshakeFault(c); fault != nil {
		writeError(ctx, http.StatusBadRequest, fault)
		return false
	}
	return true
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

// takeOver gets the TCP socket out of the wrappings, and what the client has
// already sent on it. Everything that fiber and contrib/websocket hold for the
// connection is free again when their handler returns.
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
