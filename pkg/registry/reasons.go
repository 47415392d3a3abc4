package registry

// Reason is why a connection ended.
type Reason string

// The reasons.
const (
	Closed    Reason = "closed"     // by the peer, with a close frame
	Lost      Reason = "lost"       // the link broke
	Inactive  Reason = "inactive"   // nothing was heard of it
	Expired   Reason = "expired"    // its token
	Revoked   Reason = "revoked"    // its key, or its app
	Kicked    Reason = "kicked"     // by an operator
	Suspended Reason = "suspended"  // its app
	Protocol  Reason = "protocol"   // it broke the protocol
	Slow      Reason = "slow"       // it read too slowly
	Rate      Reason = "rate"       // it sent too much
	NodeLost  Reason = "node_lost"  // its node died
	GoingAway Reason = "going_away" // its node stopped
)

// Close codes (RFC 6455 §7.4) that stand for more than the reason of their own.
const (
	codeGoingAway = 1001
	// CodeLost is the code of a connection that ended without a close frame.
	CodeLost = 1006
)

// byCode are the reasons of the codes with which a node closes connections.
var byCode = map[int]Reason{
	codeGoingAway: GoingAway,
	1002:          Protocol, 1007: Protocol, 1009: Protocol, 4003: Protocol,
	1008: Slow,
	1011: Lost,
	4000: Inactive,
	4001: Revoked,
	4002: Expired,
	4011: Rate,
	4012: Suspended,
	4020: Kicked,
}

// ReasonOf is the reason of an end by the node with this code.
func ReasonOf(code int) Reason {
	if r, ok := byCode[code]; ok {
		return r
	}
	return Lost
}
