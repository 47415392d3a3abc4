package session

import (
	"encoding/json"
	"strings"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/conn/conntest"
)

const (
	ping = `{"type":"ping"}`
	pong = `{"type":"pong"}`
)

// alive: the connection is open, and all that was sent before is dealt with.
func alive(p *conntest.Peer) {
	p.TB.Helper()
	p.Write(text(ping))
	p.Want(aText(pong))
}

func anAck(requestID string) want { return aText(`{"type":"ack","requestId":"` + requestID + `"}`) }

// anError wants an error frame with the code, and the requestId where that is
// not "".
func anError(code protocol.Code, requestID string) want {
	return func(p *conntest.Peer) {
		p.TB.Helper()
		_, got := p.Read()
		var e struct{ Type, RequestID, Code, Message string }
		if err := json.Unmarshal(got, &e); err != nil || e.Type != "error" || e.Code != string(code) || e.RequestID != requestID || e.Message == "" {
			p.TB.Fatalf("got %q\nwant an error %s with requestId %q", got, code, requestID)
		}
		if has := strings.Contains(string(got), `"requestId"`); has != (requestID != "") {
			p.TB.Fatalf("got %s\nwhich has a requestId: %v", got, has)
		}
	}
}

func aWelcome(p *conntest.Peer) {
	p.TB.Helper()
	if op, got := p.Read(); op != ws.OpText || !strings.HasPrefix(string(got), `{"type":"welcome",`) {
		p.TB.Fatalf("got frame %x %q, want a welcome", op, got)
	}
}
