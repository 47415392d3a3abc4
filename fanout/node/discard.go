package node

import (
	"net"
	"time"
)

// What is received of a body that is refused, before the answer: at most
// discardBytes, for at most discardTime, until nothing came for discardPause.
const (
	discardBytes = 4 << 20
	discardTime  = 2 * time.Second
	discardPause = 100 * time.Millisecond
)

// discardBody receives what a peer still sends of a body that is too large. A
// socket that is closed with bytes unread resets its connection, and whoever sends
// the body first and reads the answer then would read none (RFC 9112 §9.6).
func discardBody(conn net.Conn) {
	begin := time.Now()
	buffer := make([]byte, 16<<10)
	for received := 0; received < discardBytes && time.Since(begin) < discardTime; {
		_ = conn.SetReadDeadline(time.Now().Add(discardPause))
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		received += n
	}
}
