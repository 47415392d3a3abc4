package wire

import (
	"encoding/binary"
	"strings"
)

// MQTT is MQTT 3.1.1 at QoS 0, without keep-alive; one packet in each frame.
type MQTT struct{}

// MQTT 3.1.1 §2.2.1.
const (
	mqttConnect   = 0x10
	mqttPublish   = 0x30
	mqttSubscribe = 0x82
)

// Open connects with a clean session, then subscribes to everything at once.
func (m MQTT) Open(device string, _, subscribes []string) Opening {
	connect := append(mqttString("MQTT"), 4, 0x02, 0, 0)
	connect = append(connect, mqttString(device)...)
	o := Opening{
		Upgrade: upgrade("/mqtt", "Sec-WebSocket-Protocol: mqtt"),
		Steps:   []Step{{ClientFrame(OpBinary, mqttPacket(mqttConnect, connect)), "\x20\x02\x00\x00"}},
	}
	if len(subscribes) > 0 {
		subscribe := []byte{0, 1}
		for _, name := range subscribes {
			subscribe = append(append(subscribe, mqttString(m.filter(name))...), 0)
		}
		granted := "\x90" + string(rune(2+len(subscribes))) + "\x00\x01" + strings.Repeat("\x00", len(subscribes))
		o.Steps = append(o.Steps, Step{ClientFrame(OpBinary, mqttPacket(mqttSubscribe, subscribe)), granted})
	}
	return o
}

func (MQTT) filter(name string) string { return strings.ReplaceAll(name, "*", "+") }

// Publish is a PUBLISH at QoS 0.
func (MQTT) Publish(channel string, body []byte) *Message {
	return framed(OpBinary, mqttPacket(mqttPublish, append(mqttString(channel), body...)))
}

// Refusal cannot come: MQTT 3.1.1 only ever closes the connection.
func (MQTT) Refusal() string { return "\xff\xff" }

func mqttString(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// mqttPacket puts the fixed header before the rest (§2.2.3: 7 bits a byte).
func mqttPacket(kind byte, rest []byte) []byte {
	b := []byte{kind}
	for n := len(rest); ; {
		digit := byte(n & 0x7F)
		n >>= 7
		if n == 0 {
			return append(append(b, digit), rest...)
		}
		b = append(b, digit|0x80)
	}
}
