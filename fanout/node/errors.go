package node

import (
	"errors"
	"net/http"

	"github.com/gofiber/fiber/v2"

	"fleetwire/pkg/protocol"
)

// writeError answers in the form of protocol §5.
func writeError(c *fiber.Ctx, status int, e *protocol.Error) error {
	c.Set(fiber.HeaderContentType, fiber.MIMEApplicationJSON)
	return c.Status(status).Send(protocol.AppendErrorBody(nil, e))
}

// nothingHere answers for paths and methods that this node does not serve.
func nothingHere(c *fiber.Ctx) error {
	if c.Path() == "/v1" {
		c.Set(fiber.HeaderAllow, fiber.MethodGet)
		return writeError(c, http.StatusMethodNotAllowed, protocol.Errorf(protocol.MethodNotAllowed, "/v1 takes GET with a WebSocket upgrade only"))
	}
	return writeError(c, http.StatusNotFound, protocol.Errorf(protocol.NotFound, "this is a fan-out node: it serves the WebSocket at /v1 and no REST"))
}

// errorHandler answers what fiber itself refuses, such as a body that is too large.
func errorHandler(c *fiber.Ctx, err error) error {
	status := http.StatusInternalServerError
	var refused *fiber.Error
	if errors.As(err, &refused) {
		status = refused.Code
	}
	e := protocol.Errorf(protocol.InvalidRequest, "%s", http.StatusText(status))
	switch status {
	case http.StatusRequestEntityTooLarge:
		discardBody(c.Context().Conn())
		e = protocol.Errorf(protocol.InvalidRequest, "the body is over %d bytes", protocol.MaxBodyBytes)
	case http.StatusUpgradeRequired:
		c.Set(fiber.HeaderSecWebSocketVersion, "13") // RFC 6455 §4.4
		e = protocol.Errorf(protocol.InvalidRequest, "the WebSocket upgrade is incomplete: it needs Connection: Upgrade, Upgrade: websocket, Sec-WebSocket-Version: 13 and Sec-WebSocket-Key")
	case http.StatusNotFound:
		e = protocol.Errorf(protocol.NotFound, "nothing is served at this path")
	case http.StatusMethodNotAllowed:
		e = protocol.Errorf(protocol.MethodNotAllowed, "this path does not take that method")
	case http.StatusInternalServerError:
		e = protocol.Errorf(protocol.InternalError, "something failed in the node; its log has the details")
	}
	return writeError(c, status, e)
}
