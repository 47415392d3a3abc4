package wire

import (
	"fmt"

	"github.com/golang-jwt/jwt/v5"
)

// Centrifugo is the bidirectional JSON protocol of Centrifugo. TokenKey signs
// tokens; APIKey is what its HTTP API wants.
type Centrifugo struct{ TokenKey, APIKey string }

// Open connects with a token, then subscribes to one channel after the other.
// Every command and its reply have a number.
func (c Centrifugo) Open(device string, _, subscribes []string) Opening {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": device}).SignedString([]byte(c.TokenKey))
	if err != nil {
		panic(fmt.Sprintf("token for %s: %v", device, err))
	}
	o := Opening{
		Upgrade: upgrade("/connection/websocket"),
		Steps:   []Step{{ClientFrame(OpText, fmt.Appendf(nil, `{"id":1,"connect":{"token":%q}}`, token)), `{"id":1,"connect":`}},
	}
	for i, name := range subscribes {
		command := fmt.Appendf(nil, `{"id":%d,"subscribe":{"channel":%q}}`, i+2, name)
		o.Steps = append(o.Steps, Step{ClientFrame(OpText, command), fmt.Sprintf(`{"id":%d,"subscribe":`, i+2)})
	}
	return o
}

// Publish is a command that Centrifugo replies to: clients cannot publish without.
func (Centrifugo) Publish(channel string, body []byte) *Message {
	return framed(OpText, fmt.Appendf(nil, `{"id":1,"publish":{"channel":%q,"data":%s}}`, channel, body))
}

// Refusal is in the reply to a command that failed.
func (Centrifugo) Refusal() string { return `"error":{` }

// REST is a publish request to the HTTP API.
func (c Centrifugo) REST(channel string, body []byte) *Message {
	request := fmt.Sprintf(`{"channel":%q,"data":%s}`, channel, body)
	return newMessage(fmt.Appendf(nil, "POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		c.APIKey, len(request), request))
}
