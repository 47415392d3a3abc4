package door

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"fleetwire/clients/go/protocol"
)

// writeError answers in the form of protocol §5.
func writeError(ctx *fasthttp.RequestCtx, status int, e *protocol.Error) {
	ctx.Response.ResetBody()
	ctx.Response.Header.SetContentType("application/json")
	ctx.SetStatusCode(status)
	ctx.SetBody(protocol.AppendErrorBody(nil, e))
}

// internalError answers for a request that the node failed on.
func internalError(ctx *fasthttp.RequestCtx) {
	writeError(ctx, http.StatusInternalServerError, protocol.Errorf(protocol.InternalError, "something failed in the node; its log has the details"))
}

// recoverRequest is deferred where requests are answered.
func recoverRequest(ctx *fasthttp.RequestCtx, log *slog.Logger) {
	if p := recover(); p != nil {
		log.Error("a request panicked", "panic", p, "stack", string(debug.Stack()))
		ctx.Response.Reset()
		ctx.SetConnectionClose()
		internalError(ctx)
	}
}

// upgradeFailed answers for what fiber's side of the upgrade refuses.
func (d *Door) upgradeFailed(c *fiber.Ctx, err error) error {
	if !errors.Is(err, fiber.ErrUpgradeRequired) {
		d.Log.Error("a request failed", "err", err)
		internalError(c.Context())
		return nil
	}
	c.Response().Header.Del(fiber.HeaderSecWebSocketProtocol)
	c.Set(fiber.HeaderUpgrade, "websocket")
	c.Set(fiber.HeaderSecWebSocketVersion, "13") // RFC 6455 §4.4
	writeError(c.Context(), http.StatusUpgradeRequired, protocol.Errorf(protocol.InvalidRequest,
		"the WebSocket upgrade is incomplete: it needs Connection: Upgrade, Upgrade: websocket, Sec-WebSocket-Version: 13 and Sec-WebSocket-Key"))
	return nil
}

// unreadable answers for a request that the HTTP server could not read to its end.
func unreadable(ctx *fasthttp.RequestCtx, err error) {
	var timeout net.Error
	_, small := errors.AsType[*fasthttp.ErrSmallBuffer](err)
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		writeError(ctx, http.StatusRequestEntityTooLarge, protocol.Errorf(protocol.InvalidRequest, "the body is larger than %d bytes, the most that is taken", bodyBytes))
	case small:
		writeError(ctx, http.StatusRequestHeaderFieldsTooLarge, protocol.Errorf(protocol.InvalidRequest, "the request's headers are over %d bytes long", headerBytes))
	case errors.As(err, &timeout) && timeout.Timeout():
		writeError(ctx, http.StatusRequestTimeout, protocol.Errorf(protocol.InvalidRequest, "the request did not come in time; send it whole within %v", readTimeout))
	default:
		writeError(ctx, http.StatusBadRequest, protocol.Errorf(protocol.InvalidRequest, "the request is not well-formed HTTP/1.1, or its connection ended within it"))
	}
}
