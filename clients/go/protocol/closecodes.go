package protocol

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// CloseCode is the status code of a WebSocket close frame: those of RFC 6455 §7.4.1 that the server
// sends, and the service's own in the range 4000–4999 (protocol §4.5).
type CloseCode uint16

// Every code that the server sends; CloseCodes has each one's story.
const (
	CloseNormal            CloseCode = 1000
	CloseGoingAway         CloseCode = 1001
	CloseProtocolError     CloseCode = 1002
	CloseInvalidPayload    CloseCode = 1007
	ClosePolicy            CloseCode = 1008
	CloseTooBig            CloseCode = 1009
	CloseInternalError     CloseCode = 1011
	CloseTryLater          CloseCode = 1013
	CloseInactive          CloseCode = 4000
	CloseInvalidCredential CloseCode = 4001
	CloseExpired           CloseCode = 4002
	CloseChannelNotCovered CloseCode = 4003
	CloseConnectionLimit   CloseCode = 4010
	CloseMessageRate       CloseCode = 4011
	CloseSuspended         CloseCode = 4012
	CloseDisconnected      CloseCode = 4020
)

// ReasonSlowConsumer is the reason that goes with ClosePolicy when a connection's unsent bytes pass
// UnsentBytesLimit, and begins the one for StallLimit (protocol §4.5).
const ReasonSlowConsumer = "slow consumer"

// CloseCodeInfo is one entry of the close-code table.
type CloseCodeInfo struct {
	Code         CloseCode
	Reason       string // the reason when a CloseError has none of its own, ≤ MaxCloseReasonBytes
	When         string // what makes the server send it
	ClientShould string // what the program at the other end does about it
	Terminal     bool   // connecting again with the same credential cannot help
}

var closeCodes = [...]CloseCodeInfo{
	{CloseNormal, "closed as asked",
		"in answer to the peer's own close frame",
		"nothing: it asked for this",
		true},
	{CloseGoingAway, "going away",
		"the node is shutting down or being replaced; preceded by a going_away frame",
		"be back retryAfterMs after the going_away frame, whether or not the close came before, and subscribe again; without such a frame connect again with backoff",
		false},
	{CloseProtocolError, "WebSocket protocol error",
		"the bytes break RFC 6455: an unmasked frame, reserved bits, a bad fragment or control frame",
		"connect again with backoff; have its WebSocket library fixed",
		false},
	{CloseInvalidPayload, "text is not valid UTF-8",
		"a text message or a close reason is not valid UTF-8 (RFC 6455 §8.1)",
		"connect again with backoff; fix what it sends, or it will be closed again",
		false},
	{ClosePolicy, "policy violation",
		"policy; with a reason that begins \"slow consumer\" when the connection's unsent bytes pass their bound, or when bytes wait for it and it took none for 30 s, though it may ping",
		"connect again with backoff; read faster, or subscribe to less",
		false},
	{CloseTooBig, "frame is over 65536 bytes",
		"a message is over 64 KiB, its fragments counted together",
		"connect again; send less than welcome's maxMessageSize at a time",
		false},
	{CloseInternalError, "internal error",
		"the node failed in a way that is its own fault; its log has the details",
		"connect again with backoff",
		false},
	{CloseTryLater, "try again later",
		"the node cannot serve new connections now, for its store is unreachable",
		"connect again with backoff",
		false},
	{CloseInactive, "nothing heard from you for 75 s",
		"nothing came from the peer for the inactivity limit, not even pongs to the server's pings",
		"connect again; on a network that drops idle connections, send ping frames more often",
		false},
	{CloseInvalidCredential, "token or key is invalid, unknown or revoked",
		"the token or key is missing, invalid, unknown or revoked, its kid is unknown, its claims are over their size, or it is not for the origin of the web page that connects; on a live connection, the publishable key or the app is gone",
		"stop; connect again only with a new credential",
		true},
	{CloseExpired, "token expired",
		"the token had expired at connect, a live connection comes within 250 ms of its exp, or the secret key that signed its token was removed or has another secret",
		"get a new token and connect again; to keep a connection open, refresh it in time",
		false},
	{CloseChannelNotCovered, "token claims a channel that its key does not cover",
		"a pattern in the token's channels is not covered by its key; the reason names the pattern",
		"stop; have the token server mint within its key's patterns",
		true},
	{CloseConnectionLimit, "the app's limit of concurrent connections is reached",
		"the app has as many connections as its plan allows",
		"connect again, but not before half a minute",
		false},
	{CloseMessageRate, "too many frames per second",
		"the connection's token bucket ran dry: 100 frames a second, 200 in a burst, unless the app has other limits",
		"connect again with backoff, and send more slowly",
		false},
	{CloseSuspended, "the app is suspended",
		"the app is suspended, at connect or while connected",
		"stop; only the service's operator can lift it",
		true},
	{CloseDisconnected, "disconnected by an operator",
		"an operator disconnected the peer (DELETE /v1/peers/{peer})",
		"stop; connect again only when a person asks for it",
		true},
}

// CloseCodes returns the close-code table, each code once, ascending.
func CloseCodes() []CloseCodeInfo { return slices.Clone(closeCodes[:]) }

// Reason is the code's own reason; empty for a code outside the table.
func (c CloseCode) Reason() string {
	if info := c.info(); info != nil {
		return info.Reason
	}
	return ""
}

// Terminal reports whether connecting again with the same credential cannot help.
func (c CloseCode) Terminal() bool {
	info := c.info()
	return info != nil && info.Terminal
}

func (c CloseCode) info() *CloseCodeInfo {
	for i := range closeCodes {
		if closeCodes[i].Code == c {
			return &closeCodes[i]
		}
	}
	return nil
}

// CloseError is why a connection is closed, or refused after the upgrade.
// An empty Reason stands for the code's own.
type CloseError struct {
	Code   CloseCode
	Reason string // shown to the peer: no secret, token or internal detail belongs in it
}

// Closef makes a CloseError with a formatted reason, which is made valid UTF-8 and cut to
// MaxCloseReasonBytes between two characters (RFC 6455 §5.5.1).
func Closef(code CloseCode, format string, args ...any) *CloseError {
	return &CloseError{Code: code, Reason: closeReason(fmt.Sprintf(format, args...))}
}

// Error is the code and the reason, for logs.
func (e *CloseError) Error() string {
	reason := e.Reason
	if reason == "" {
		reason = e.Code.Reason()
	}
	return "close " + strconv.Itoa(int(e.Code)) + ": " + reason
}

// closeReason makes s fit for a close frame.
func closeReason(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= MaxCloseReasonBytes {
		return s
	}
	end := MaxCloseReasonBytes
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end]
}
