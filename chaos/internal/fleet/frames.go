package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"fleetwire/pkg/auth"
)

// acksAtOnce is of how many messages one frame tells what became of them.
const acksAtOnce = 200

// socket is one connection of an ingester that makes its frames itself.
type socket struct {
	i        *ingester
	conn     net.Conn
	messages chan got
	answers  chan answer
	gone     chan struct{} // closed when nothing more is read
	left     chan struct{} // closed when nothing more is done
}

// answer is what the node says to a frame.
type answer struct {
	id     string
	lost   []string
	failed bool
}

// frame is what is read of the node's frames.
type frame struct {
	Type, RequestID, Code string
	Channel, From, AckID  string
	Data                  json.RawMessage
	Attempt               int
	LeaseLost             []string
}

// byFrames takes part over a socket, with frames of its own making.
func (i *ingester) byFrames(ctx context.Context) {
	for ctx.Err() == nil {
		if s, err := i.connect(ctx); err == nil {
			stop := context.AfterFunc(ctx, func() { _ = s.conn.Close() })
			go s.read()
			s.work()
			close(s.left)
			_ = s.conn.Close()
			<-s.gone
			stop()
		}
		pause(ctx, tryAgain)
	}
}

func (i *ingester) connect(ctx context.Context) (*socket, error) {
	token, _, err := auth.Mint(i.f.key(mainApp), auth.TokenRequest{Peer: i.peer, TTL: time.Hour}, time.Now())
	if err != nil {
		return nil, err
	}
	dial := i.gate.through(func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, i.f.stage.Route(i.home).Address)
	})
	d := ws.Dialer{Timeout: answerIn, NetDial: dial, Header: ws.HandshakeHeaderHTTP{"Authorization": {"Bearer " + token}}}
	conn, early, _, err := d.Dial(ctx, "ws://fleetwire.invalid/v1")
	if err != nil {
		return nil, err
	}
	if early != nil { // the welcome may come with the handshake's answer
		conn = begun{conn, early}
	}
	return &socket{i: i, conn: conn, messages: make(chan got, 1000), answers: make(chan answer, 1000), gone: make(chan struct{}), left: make(chan struct{})}, nil
}

// begun is a connection of which some bytes are read already.
type begun struct {
	net.Conn
	early io.Reader // goes on with the connection when it has no more
}

func (b begun) Read(p []byte) (int, error) { return b.early.Read(p) }

// read reads frames until the connection ends.
func (s *socket) read() {
	defer close(s.gone)
	for {
		text, err := wsutil.ReadServerText(s.conn)
		if err != nil {
			return
		}
		var f frame
		if json.Unmarshal(text, &f) != nil {
			return
		}
		switch {
		case f.Type == "message" && f.AckID != "":
			select {
			case s.messages <- s.i.take(f.Data, f.From, f.Channel, f.AckID, f.Attempt):
			case <-s.left:
			}
		case f.Type == "ack" || f.Type == "error":
			select {
			case s.answers <- answer{f.RequestID, f.LeaseLost, f.Type == "error"}:
			case <-s.left:
			}
		}
	}
}

// work subscribes, and acknowledges what comes, until the connection ends.
func (s *socket) work() {
	if s.say(map[string]any{"type": "subscribe", "group": ingestGroup, "maxInFlight": s.i.f.Size.InFlight, "requestId": "join"}) != nil {
		return
	}
	asked := map[string][]got{}
	repeated := map[string]bool{}
	again := make(chan string, 1000)
	number := 0
	for {
		select {
		case <-s.gone:
			return
		case m := <-s.messages:
			all := s.more(m)
			number++
			id := fmt.Sprint(number)
			asked[id] = all
			if s.acknowledge(id, all) != nil {
				return
			}
		case a := <-s.answers:
			if a.failed {
				id := a.id
				if id == "join" {
					return // it begins anew, after a pause
				}
				repeated[id] = true
				time.AfterFunc(tryAgain, func() { again <- id })
				continue
			}
			s.answered(asked[a.id], a.lost, !repeated[a.id])
			delete(asked, a.id)
			delete(repeated, a.id)
		case id := <-again:
			if s.acknowledge(id, asked[id]) != nil {
				return
			}
		}
	}
}

// more is a message, and those that have come behind it.
func (s *socket) more(m got) []got {
	all := []got{m}
	for len(all) < acksAtOnce {
		select {
		case m := <-s.messages:
			all = append(all, m)
		default:
			return all
		}
	}
	return all
}

func (s *socket) acknowledge(id string, all []got) error {
	if !s.i.gate.pass() {
		return errKilled
	}
	frame := settling(all)
	frame["type"], frame["requestId"] = "group_ack", id
	return s.say(frame)
}

func (s *socket) answered(all []got, lost []string, first bool) {
	gone := map[string]bool{}
	for _, id := range lost {
		gone[id] = true
	}
	for _, m := range all {
		s.i.noted(m, !gone[m.ackID], first)
	}
}

func (s *socket) say(frame any) error {
	text, err := json.Marshal(frame)
	if err != nil {
		return err
	}
	// One write: the reader answers pings meanwhile.
	_, err = s.conn.Write(ws.MustCompileFrame(ws.MaskFrameInPlace(ws.NewTextFrame(text))))
	return err
}
