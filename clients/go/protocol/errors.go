package protocol

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
)

// Code is a stable name for what went wrong, for programs to branch on. The same codes travel in
// `error` frames, where the connection stays open (protocol §4.4), and in REST error bodies (protocol §5).
type Code string

// Every code there is; Codes has each one's status, sentence and meaning.
const (
	MalformedMessage     Code = "malformed_message"
	UnknownType          Code = "unknown_type"
	InvalidChannel       Code = "invalid_channel"
	InvalidPeerID        Code = "invalid_peer_id"
	ChannelNotAuthorized Code = "channel_not_authorized"
	ChannelReserved      Code = "channel_reserved"
	ChannelLimitExceeded Code = "channel_limit_exceeded"
	PeerNotFound         Code = "peer_not_found"
	MissingData          Code = "missing_data"
	ActionNotPermitted   Code = "action_not_permitted"
	OverMessageQuota     Code = "over_message_quota"
	InvalidToken         Code = "invalid_token"
	BackendError         Code = "backend_error"
	InternalError        Code = "internal_error"
	InvalidRequest       Code = "invalid_request"
	Unauthorized         Code = "unauthorized"
	AccountSuspended     Code = "account_suspended"
	NotFound             Code = "not_found"
	MethodNotAllowed     Code = "method_not_allowed"
	RateLimited          Code = "rate_limited"
	NobodySubscribed     Code = "nobody_subscribed"
	IdempotencyConflict  Code = "idempotency_conflict"
	CommandNotFound      Code = "command_not_found"
	CommandFinal         Code = "command_final"
	QueueFull            Code = "queue_full"
	OffsetMismatch       Code = "offset_mismatch"
	GroupFull            Code = "group_full"
	GroupNotFound        Code = "group_not_found"
)

// CodeInfo is one entry of the error catalogue.
type CodeInfo struct {
	Code       Code
	HTTPStatus int    // the status of a REST answer with this code
	Sentence   string // the message when an Error has none of its own
	Meaning    string // what a developer should know, and what to do about it
}

// The codes of `error` frames alone have a status too, so that no code can ever be answered with a 200.
var codes = [...]CodeInfo{
	{MalformedMessage, http.StatusBadRequest, "the frame is malformed",
		"`error` frames only. The frame is not one JSON object in valid UTF-8, has no string type, or a field has the wrong JSON type. Fix the sender."},
	{UnknownType, http.StatusBadRequest, "the frame's type is unknown",
		"`error` frames only. The server does not know this type of frame. Fix the sender, or leave out what this server lacks."},
	{InvalidChannel, http.StatusBadRequest, "the channel name is invalid",
		"The channel is missing or against the rules for names, or a pattern where a name is needed. Fix the sender."},
	{InvalidPeerID, http.StatusBadRequest, "the peer id is invalid",
		"The peer id is missing, or not 1–128 printable ASCII characters. Fix the sender."},
	{ChannelNotAuthorized, http.StatusForbidden, "the channel is outside what this credential may touch",
		"No claimed pattern, or no pattern of the key, matches the channel. Ask for a token that covers it."},
	{ChannelReserved, http.StatusBadRequest, "the channel begins with a reserved prefix",
		"Channels under _metered/, _internal/ and _system/ belong to the service. Choose another name."},
	{ChannelLimitExceeded, http.StatusForbidden, "the connection has reached its limit of 100 subscriptions",
		"`error` frames only. Unsubscribe from a channel first, or use a wildcard or a second connection."},
	{PeerNotFound, http.StatusNotFound, "no connection is open under this peer id",
		"A send, and nobody is connected under that id, on any node: try again when the peer is back. Or REST, and the app knows no such peer: it was never there, or not for long."},
	{MissingData, http.StatusBadRequest, "data is missing",
		"The frame or body has no data. Any JSON value will do, null included."},
	{ActionNotPermitted, http.StatusForbidden, "this credential does not permit the action",
		"The action is not among the permissions of both the token and its key. Ask for a token that has it."},
	{OverMessageQuota, http.StatusTooManyRequests, "the app's message quota for this period is used up",
		"The message was dropped; the connection stays and goes on receiving. Wait for the next period, or raise the plan."},
	{InvalidToken, http.StatusUnauthorized, "the token is not valid for this connection",
		"`error` frames only. A refresh brought a token that does not verify, or is another peer's. The old credential stays in force. Mint a token for the same peer."},
	{BackendError, http.StatusServiceUnavailable, "the service's store did not answer; nothing was done",
		"The service's store did not take it, or did not say. With outcome none nothing happened and nothing will: retry with backoff. With outcome unknown it may have been done: a retry may do it twice."},
	{InternalError, http.StatusInternalServerError, "something went wrong on the server",
		"A fault of the server, which has logged it. Retry with backoff; report it if it stays."},
	{InvalidRequest, http.StatusBadRequest, "the request is invalid",
		"REST, and connecting; also sent with 408, 413 (body too large), 414, 415 (not JSON), 417, 426 and 431. The message names what is wrong. Fix the caller."},
	{Unauthorized, http.StatusUnauthorized, "a valid secret key is needed: Authorization: Bearer <id>:<secret>",
		"REST only. The credential is missing, unknown or wrong, or a publishable key; which of these is not told. Check the key."},
	{AccountSuspended, http.StatusForbidden, "the app is suspended",
		"REST only; a connection is closed with 4012 instead. Only the service's operator can lift it."},
	{NotFound, http.StatusNotFound, "there is nothing at this path",
		"REST only. No route has this path. Check the URL, and that the channel is percent-encoded."},
	{MethodNotAllowed, http.StatusMethodNotAllowed, "this path does not take this method",
		"REST only. The Allow header names the methods that the path takes."},
	{RateLimited, http.StatusTooManyRequests, "too many requests; slow down",
		"REST, and connecting from one address. Wait for as long as Retry-After says."},
	{NobodySubscribed, http.StatusConflict, "nobody is subscribed to the channel",
		"REST only. A command without a TTL needs a subscriber by name; nothing was sent, and no message counted. Give it a ttlMs, or try again when the peer is back."},
	{IdempotencyConflict, http.StatusConflict, "the idempotency key was used with another body",
		"Another request of the same channel had this idempotencyKey and another body; nothing was done. Use a new key for a new request."},
	{CommandNotFound, http.StatusNotFound, "there is no such command",
		"The id is unknown, the command is another app's or was handed to another peer, it is on a channel that the key does not cover, or it ended too long ago."},
	{CommandFinal, http.StatusConflict, "the command has ended",
		"A command that has ended can't be cancelled, and a final answer can't be replaced by another one."},
	{QueueFull, http.StatusTooManyRequests, "too many commands of this channel wait to be handed over",
		"REST only. 100 commands of the channel may still be handed over. Wait until some have ended, cancel some, or use a collapseKey."},
	{OffsetMismatch, http.StatusPreconditionFailed, "the channel's newest message is not the one that was expected",
		"A publish with ifOffset, and another message came first: nothing was published or counted. Read the newest message, decide again, and publish with its offset and epoch."},
	{GroupFull, http.StatusTooManyRequests, "a group of ingesters has no room for the message",
		"A publish to a channel whose messages wait for a group that has reached its maxBytes: nothing was published or counted. Keep the message, and try again with backoff; see to the group's ingesters."},
	{GroupNotFound, http.StatusNotFound, "there is no such group",
		"The app's configuration has no group with this name."},
}

// Codes returns the error catalogue, each code once.
func Codes() []CodeInfo { return slices.Clone(codes[:]) }

// HTTPStatus is the status of a REST answer that carries c. invalid_request is 400 here; the 413 and 415
// that it is also sent with are the handler's own. A code outside the catalogue is 500.
func (c Code) HTTPStatus() int {
	if info := c.info(); info != nil {
		return info.HTTPStatus
	}
	return http.StatusInternalServerError
}

// Sentence is what c says when nothing more precise is known; empty for a code outside the catalogue.
func (c Code) Sentence() string {
	if info := c.info(); info != nil {
		return info.Sentence
	}
	return ""
}

func (c Code) info() *CodeInfo {
	for i := range codes {
		if codes[i].Code == c {
			return &codes[i]
		}
	}
	return nil
}

// Outcome is what is known, after a backend_error, of what was asked for (protocol §4.4).
type Outcome string

// The two outcomes. OutcomeNone holds for good: it was not done and will not be done later.
const (
	OutcomeNone    Outcome = "none"
	OutcomeUnknown Outcome = "unknown"
)

// Error is a refusal that the caller gets to see: an `error` frame, or a REST error body.
// An empty Message stands for the code's own sentence.
type Error struct {
	Code    Code
	Message string  // shown to the caller: no secret, token or internal detail belongs in it
	Outcome Outcome // shown with backend_error alone, where "" stands for OutcomeNone
}

// Errorf makes an Error with a formatted message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Unknownf makes a backend_error after which it is not known what was done.
func Unknownf(format string, args ...any) *Error {
	return &Error{Code: BackendError, Message: fmt.Sprintf(format, args...), Outcome: OutcomeUnknown}
}

// Error is the code and the message, for logs.
func (e *Error) Error() string { return string(e.Code) + ": " + e.message() }

func (e *Error) message() string {
	if e.Message == "" {
		return e.Code.Sentence()
	}
	return e.Message
}

// AppendErrorBody appends the REST error body {"error":"…","message":"…"}, with "outcome" for a
// backend_error (protocol §5).
func AppendErrorBody(dst []byte, e *Error) []byte {
	dst = append(dst, `{"error":`...)
	dst = AppendString(dst, string(e.Code))
	dst = append(dst, `,"message":`...)
	dst = AppendString(dst, e.message())
	return append(e.appendOutcome(dst), '}')
}

func (e *Error) appendOutcome(dst []byte) []byte {
	if e.Code != BackendError {
		return dst
	}
	dst = append(dst, `,"outcome":`...)
	return AppendString(dst, string(cmp.Or(e.Outcome, OutcomeNone)))
}
