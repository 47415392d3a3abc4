package protocol

import (
	"strings"
	"time"
)

// Sizes, in bytes.
const (
	// MaxFrameBytes bounds one client frame; a longer one closes the connection with 1009 (protocol §4.2).
	// It is what welcome announces as maxMessageSize.
	MaxFrameBytes = 64 << 10

	// MaxBodyBytes bounds a REST request's body; a longer one gets 413 (protocol §5).
	MaxBodyBytes = 32 << 10
	// MaxTokenBodyBytes bounds the body of POST /v1/tokens, which can hold all that §3 allows, with each
	// character outside ASCII written as \uXXXX.
	MaxTokenBodyBytes = 128 << 10
	// MaxPublishBodyBytes bounds the body of POST /v1/publish, whose messages are MaxBodyBytes each at most.
	MaxPublishBodyBytes = 256 << 10
	// MaxAckBodyBytes bounds the body of POST /v1/groups/{group}/ack (protocol §10.1).
	MaxAckBodyBytes = 128 << 10

	// MaxRequestIDBytes bounds a frame's requestId, counted after unescaping (protocol §4.2).
	MaxRequestIDBytes = 128

	// MaxPeerIDBytes bounds a peer id; see ValidPeerID (protocol §3).
	MaxPeerIDBytes = 128

	// MaxMetadataBytes bounds a token's `metadata`, serialized (protocol §3).
	MaxMetadataBytes = 8 << 10

	// MaxPeerMetadataBytes bounds a token's `peerMetadata`, serialized (protocol §3).
	MaxPeerMetadataBytes = 4 << 10

	// MaxAnswerBytes bounds the data of an answer to a command (protocol §8).
	MaxAnswerBytes = 16 << 10

	// MaxWillBytes bounds the data of a will (protocol §4.7).
	MaxWillBytes = 4 << 10

	// UnsentBytesLimit bounds what waits to be written to one connection; past it the connection
	// is closed with 1008 and ReasonSlowConsumer (protocol §4.5).
	UnsentBytesLimit = 1 << 20

	// MaxControlPayloadBytes bounds the payload of a close, ping or pong frame (RFC 6455 §5.5).
	MaxControlPayloadBytes = 125

	// MaxCloseReasonBytes bounds a close frame's reason: the payload less the two bytes of the
	// code (RFC 6455 §5.5.1).
	MaxCloseReasonBytes = MaxControlPayloadBytes - 2
)

// Counts.
const (
	// MaxSubscriptions bounds one connection's subscriptions, exact and wildcard together;
	// one more gets channel_limit_exceeded (protocol §4.4).
	MaxSubscriptions = 100

	// MaxPublishMessages bounds the messages of one POST /v1/publish (protocol §5).
	MaxPublishMessages = 100

	// MaxTokenChannels bounds a token's `channels` (protocol §3).
	MaxTokenChannels = 100

	// MaxTokenPermissions bounds a token's `permissions` (protocol §3).
	MaxTokenPermissions = 16

	// MaxNesting bounds how deep arrays and objects may lie in one another in `data`, and in every
	// other value of a frame or body, the value's own level counted (protocol §4.2). JSON readers
	// that call themselves for each level give up, or end their program, at some thousand of them.
	MaxNesting = 128

	// MaxMetadataNesting bounds it in a token's `metadata` and `peerMetadata` (protocol §3).
	MaxMetadataNesting = 16
)

// Times.
const (
	// PingInterval is how often the server pings each connection (protocol §4.5, 4000).
	PingInterval = 25 * time.Second

	// StallLimit is how long a connection for which bytes wait may take none of them; then it is
	// closed with 1008, however few wait (protocol §4.5).
	StallLimit = 30 * time.Second

	// InactivityLimit is how long nothing may be heard from a connection before it is closed
	// with 4000: three pings unanswered (protocol §4.5).
	InactivityLimit = 75 * time.Second

	// ExpiryLead is how long before a token's exp its live connection is closed with 4002,
	// so that no message is delivered after exp (protocol §4.5).
	ExpiryLead = 250 * time.Millisecond

	// MaxWillDelayMs bounds the delayMs of a will (protocol §4.7).
	MaxWillDelayMs = 86_400_000

	// ClockLeeway is how far a token's iat and nbf may lie in the future (protocol §3).
	ClockLeeway = 60 * time.Second

	// DefaultTokenTTL and MaxTokenTTL are a minted token's life when `expiresInSec` is left out,
	// and the longest that may be asked for (protocol §5).
	DefaultTokenTTL = 3600 * time.Second
	MaxTokenTTL     = 86400 * time.Second
)

// ValidPeerID reports whether s may be a peer's id: 1–128 printable ASCII characters,
// 0x20–0x7E (protocol §3).
func ValidPeerID(s string) bool {
	if len(s) == 0 || len(s) > MaxPeerIDBytes {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7E {
			return false
		}
	}
	return true
}

// IsReservedPeerID reports whether s is a peer id that only the service may give (protocol §3): "server", whom REST
// publishes are from unless they say otherwise; "anon_…", the peers of publishable keys; and "_system…". No token can
// be for one, or a device would look like the service.
func IsReservedPeerID(s string) bool {
	return s == "server" || strings.HasPrefix(s, "anon_") || strings.HasPrefix(s, "_system")
}

// ReservedPeerIDs names them, for error messages.
const ReservedPeerIDs = "server, anon_… and _system…"
