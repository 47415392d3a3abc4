package wire

import (
	"bytes"
	"fmt"
	"strings"
)

// JetStream is NATS with a stream that keeps what devices publish until it is acknowledged:
// the peer of our groups. Devices publish as with NATS, and are not answered either.
type JetStream struct{ NATS }

const (
	// pullsTogether is how many messages a request of an ingester asks for. Two requests are open:
	// that is what ours may hold, and what clients of JetStream do.
	pullsTogether = 500
	jetStream     = "BENCH"
	ackSubject    = "$JS.ACK."
)

// Ingest makes the stream and a consumer, and asks for messages.
func (j JetStream) Ingest(device, pattern, group string) Opening {
	subject := j.subject(strings.ReplaceAll(pattern, "**", ">"))
	o := j.Open(device, nil, nil)
	hello := &o.Steps[1]
	hello.Send = bytes.Join([][]byte{hello.Send, command("SUB _INBOX.api 1\r\nSUB _INBOX.messages 2\r\nPING\r\n")}, nil)
	ask := func(api, request string) []byte { return command(publish("$JS.API."+api, "_INBOX.api", request)) }
	o.Steps = append(o.Steps,
		Step{ask("STREAM.CREATE."+jetStream, fmt.Sprintf(`{"name":%q,"subjects":[%q],"retention":"workqueue","storage":"file","max_bytes":1000000000}`, jetStream, subject)), `"did_create":true`},
		Step{ask("CONSUMER.CREATE."+jetStream+"."+group, fmt.Sprintf(`{"stream_name":%q,"config":{"name":%[2]q,"durable_name":%[2]q,"ack_policy":"explicit","ack_wait":30000000000,"max_ack_pending":%[3]d}}`, jetStream, group, 2*pullsTogether)), `"num_pending":`},
		Step{command(next(group) + next(group) + "PING\r\n"), "PONG\r\n"})
	return o
}

// Acks acknowledges each message of one connection that has opened with Ingest, in frames of
// many, and asks for more.
func (JetStream) Acks(group string) func(payload []byte) []byte {
	var acks strings.Builder
	var rest []byte // of a payload, the end of which may begin an acknowledgement's subject
	held, got := 0, 0
	return func(payload []byte) []byte {
		rest = append(rest, payload...)
		open := rest
		for {
			at := bytes.Index(open, []byte(ackSubject))
			if at < 0 {
				open = open[max(0, len(open)-len(ackSubject)+1):]
				break
			}
			subject, behind, whole := bytes.Cut(open[at:], []byte{' '})
			if !whole {
				open = open[at:]
				break
			}
			acks.WriteString(publish(string(subject), "", "+ACK"))
			open, held = behind, held+1
			if got++; got%pullsTogether == 0 {
				acks.WriteString(next(group))
			}
		}
		rest = append(rest[:0], open...)
		if held < acksTogether {
			return nil
		}
		frame := command(acks.String())
		acks.Reset()
		held = 0
		return frame
	}
}

func command(text string) []byte { return ClientFrame(OpBinary, []byte(text)) }

func publish(subject, reply, data string) string {
	return fmt.Sprintf("PUB %s %s %d\r\n%s\r\n", subject, reply, len(data), data)
}

// next asks for messages, without an end.
func next(group string) string {
	return publish("$JS.API.CONSUMER.MSG.NEXT."+jetStream+"."+group, "_INBOX.messages", fmt.Sprintf(`{"batch":%d}`, pullsTogether))
}
