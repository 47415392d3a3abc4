package intake

import (
	"net"
	"time"
)

// Bounds of linger, for a request that is answered before it was whole: it receives
// at most lingerBytes, for at most lingerTime, until nothing came for lingerPause.
const (
	lingerBytes = 4 << 20
	lingerTime  = 2 * time.Second
	lingerPause = 500 * time.Millisecond
)

// linger ends our side, and receives what the peer still sends. A socket that is
// closed with bytes unread resets its connection, and a client that sends its body
// first and reads the answer then would read none (RFC 9112 §9.6).
func linger(conn *net.TCPConn) {
	_ = conn.CloseWrite()
	buffer := smallHeads.Get().(*[smallHead]byte)
	defer smallHeads.Put(buffer)
	begin := time.Now()
	for received := 0; received < lingerBytes && time.Since(begin) < lingerTime; {
		_ = conn.SetReadDeadline(time.Now().Add(lingerPause))
		n, err := conn.Read(buffer[:])
		if err != nil {
			return
		}
		received += n
	}
}
