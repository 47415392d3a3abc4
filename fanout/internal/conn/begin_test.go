package conn

import (
	"io"
	"testing"

	"fleetwire/clients/go/protocol"
)

const upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"

// The answer to the upgrade request comes before all frames, whatever becomes of the
// connection, and in one write with the first: that wakes a device once. Nothing is
// written before the connection begins.
func TestTheAnswerToTheUpgradeComesFirst(t *testing.T) {
	for name, tt := range map[string]struct {
		before func(*Conn)
		begin  func(*Conn)
		want   []want
	}{
		"with two frames": {func(c *Conn) {
			c.sendFrame(framed("1"))
			c.sendFrame(framed("2"))
			c.Flush()
		}, (*Conn).Begin, []want{aText("1"), aText("2"), alive}},
		"refused": {func(c *Conn) {
			c.sendFrame(framed("1"))
		}, func(c *Conn) { c.Refuse(protocol.Closef(protocol.CloseConnectionLimit, "full")) }, []want{aClose(4010, "full")}},
		"closed before it begins": {func(c *Conn) {
			c.sendFrame(framed("1"))
			c.Close(protocol.Closef(protocol.CloseDisconnected, ""))
		}, (*Conn).Begin, []want{aText("1"), aClose(4020, "")}},
		"too much before it begins": {func(c *Conn) {
			c.sendFrame(make([]byte, protocol.UnsentBytesLimit))
		}, (*Conn).Begin, []want{aClose(1008, "slow consumer")}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.open(wiring{answer: []byte(upgraded)})
			writes := countWrites(t, &p.conn)
			tt.before(&p.conn)
			for range 8 { // connections of the same loop are served meanwhile
				w.connect().Want(alive)
			}
			if n := writes.Load(); n != 0 {
				t.Errorf("%d writes before it begins", n)
			}
			p.begin(tt.begin)
			got := make([]byte, len(upgraded))
			if _, err := io.ReadFull(p.In, got); err != nil || string(got) != upgraded {
				t.Fatalf("got %q (%v), want the answer to the upgrade", got, err)
			}
			p.Want(tt.want[0])
			if n := writes.Load(); n != 1 {
				t.Errorf("%d writes, want one", n)
			}
			p.Want(tt.want[1:]...)
		})
	}
}
