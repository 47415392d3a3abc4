package door

import (
	"encoding/base64"

	"github.com/gofiber/fiber/v2"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/intake"
)

// handshakeFault says what is wrong with an upgrade that is no handshake of RFC 6455
// (§4.2.1), or that two readers could understand differently. The upgrade itself
// refuses a handshake with missing parts.
func handshakeFault(c *fiber.Ctx) *protocol.Error {
	ctx := c.Context()
	conn, _ := ctx.Conn().(*intake.Conn)
	keys := lines(c, fiber.HeaderSecWebSocketKey)
	switch {
	case !ctx.Request.Header.IsHTTP11():
		return protocol.Errorf(protocol.InvalidRequest, "a WebSocket upgrade takes HTTP/1.1, got HTTP/1.0; a proxy in between must use HTTP/1.1, too")
	case conn != nil && conn.BodyLength() != 0: // it would be taken for frames
		return protocol.Errorf(protocol.InvalidRequest, "a WebSocket upgrade has no body; send none")
	case len(lines(c, fiber.HeaderAuthorization)) > 1:
		return twice("Authorization headers")
	case len(lines(c, fiber.HeaderSecWebSocketVersion)) > 1:
		return twice("Sec-WebSocket-Version headers")
	case len(keys) > 1:
		return twice("Sec-WebSocket-Key headers")
	case len(keys) == 1 && !isNonce(keys[0]):
		return protocol.Errorf(protocol.InvalidRequest, "the Sec-WebSocket-Key must be 16 random bytes in base64, which are 24 characters")
	}
	for _, name := range []string{"token", "key"} {
		if len(ctx.QueryArgs().PeekMulti(name)) > 1 {
			return twice(name + " parameters")
		}
	}
	return nil
}

func twice(what string) *protocol.Error {
	return protocol.Errorf(protocol.InvalidRequest, "the request has two %s; send one", what)
}

// isNonce knows the Sec-WebSocket-Key. One without a value is missing.
func isNonce(key string) bool {
	nonce, err := base64.StdEncoding.DecodeString(key)
	return key == "" || err == nil && len(nonce) == 16
}
