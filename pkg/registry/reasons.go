package registry

import "fleetwire/clients/go/protocol"

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

// CodeLost is the code of a connection that ended without a close frame (RFC 6455 §7.4.1).
const CodeLost = 1006

// byCode are the reasons of the codes with which a node closes connections.
var byCode = map[protocol.CloseCode]Reason{
	protocol.CloseGoingAway:         GoingAway,
	protocol.CloseProtocolError:     Protocol,
	protocol.CloseInvalidPayload:    Protocol,
	protocol.CloseTooBig:            Protocol,
	protocol.CloseChannelNotCovered: Protocol,
	protocol.ClosePolicy:            Slow,
	protocol.CloseInternalError:     Lost,
	protocol.CloseInactive:          Inactive,
	protocol.CloseInvalidCredential: Revoked,
	protocol.CloseExpired:           Expired,
	protocol.CloseMessageRate:       Rate,
	protocol.CloseSuspended:         Suspended,
	protocol.CloseDisconnected:      Kicked,
}

// ReasonOf is the reason of an end by the node with this code.
func ReasonOf(code int) Reason {
	if r, ok := byCode[protocol.CloseCode(code)]; ok {
		return r
	}
	return Lost
}
