package wire

import (
	"fmt"
	"strings"
)

// NATS is the client protocol of NATS, in binary frames.
type NATS struct{}

// Open says everything in one frame once the server has introduced itself: it is
// the least that a client can do.
func (n NATS) Open(device string, _, subscribes []string) Opening {
	var say strings.Builder
	fmt.Fprintf(&say, "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false,\"name\":%q,\"lang\":\"go\",\"version\":\"1.0.0\",\"protocol\":1}\r\n", device)
	for i, name := range subscribes {
		fmt.Fprintf(&say, "SUB %s %d\r\n", n.subject(name), i+1)
	}
	say.WriteString("PING\r\n")
	return Opening{
		Upgrade: upgrade("/"),
		Steps:   []Step{{Expect: "INFO {"}, {ClientFrame(OpBinary, []byte(say.String())), "PONG\r\n"}},
	}
}

func (NATS) subject(name string) string { return strings.ReplaceAll(name, "/", ".") }

// Publish is a PUB without a reply subject.
func (n NATS) Publish(channel string, body []byte) *Message {
	return framed(OpBinary, fmt.Appendf(nil, "PUB %s %d\r\n%s\r\n", n.subject(channel), len(body), body))
}

// Refusal begins every error of NATS.
func (NATS) Refusal() string { return "-ERR" }
