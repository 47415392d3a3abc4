package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

const document = `{"apps":[{"id":"bench","keys":[{"id":"sk_live_1","secret":"0123456789abcdef0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish","subscribe"]}]}]}`

func fleetwire(t *testing.T) (Fleetwire, *apps.Directory) {
	t.Helper()
	directory, err := apps.Parse([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	return Fleetwire{directory.Apps()[0].Keys[0]}, directory
}

// request is the upgrade request as a server reads it.
func request(t *testing.T, b []byte) *http.Request {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatalf("%q: %v", b, err)
	}
	return r
}

func TestEveryDialectUpgrades(t *testing.T) {
	ours, _ := fleetwire(t)
	for name, d := range map[string]Dialect{"fleetwire": ours, "nats": NATS{}, "jetstream": JetStream{}, "mqtt": MQTT{}, "centrifugo": Centrifugo{}, "floor": Floor{}} {
		r := request(t, d.Open("device-1", nil, []string{"devices/*/events"}).Upgrade)
		if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" || r.Header.Get("Sec-WebSocket-Version") != "13" || r.Header.Get("Sec-WebSocket-Key") == "" {
			t.Errorf("%s: %v is no upgrade", name, r.Header)
		}
	}
}

func TestFleetwireOpensWithATokenForItsChannels(t *testing.T) {
	d, directory := fleetwire(t)
	o := d.Open("device-1", []string{"devices/1/events"}, []string{"devices/1/commands", "fleets/*"})
	grant, refused := auth.VerifyToken(directory, request(t, o.Upgrade).URL.Query().Get("token"), time.Now())
	if refused != nil {
		t.Fatal(refused)
	}
	if grant.Peer != "device-1" || grant.Check(apps.ActionSubscribe, "devices/1/events") != nil || grant.Check(apps.ActionSubscribe, "devices/1/commands") != nil || grant.Check(apps.ActionSubscribe, "fleets/7") != nil || grant.Check(apps.ActionSubscribe, "devices/2/events") == nil {
		t.Errorf("the token grants %+v", grant)
	}
	var asked []string
	for _, s := range o.Steps[1:] {
		_, payload := unframed(t, s.Send)
		var f protocol.ClientFrame
		if err := protocol.Decode(payload, &f); err != nil || f.Type != protocol.TypeSubscribe {
			t.Fatalf("%s: %v", payload, err)
		}
		if want := string(protocol.AppendAck(nil, f.RequestID)); s.Expect != want {
			t.Errorf("waits for %s, the ack is %s", s.Expect, want)
		}
		asked = append(asked, f.Channel)
	}
	if strings.Join(asked, " ") != "devices/1/commands fleets/*" {
		t.Errorf("subscribes to %q", asked)
	}
}

func TestFleetwirePublish(t *testing.T) {
	d, _ := fleetwire(t)
	_, payload := unframed(t, d.Publish("devices/1/events", Body(100)).Stamp(1))
	var f protocol.ClientFrame
	if err := protocol.Decode(payload, &f); err != nil || f.Type != protocol.TypePublish || f.Channel != "devices/1/events" || len(f.Data) != 100 {
		t.Errorf("%s: %+v, %v", payload, f, err)
	}
}

func TestFleetwireREST(t *testing.T) {
	d, directory := fleetwire(t)
	r := request(t, d.REST("fleets/1/commands", Body(100)).Stamp(1))
	body, err := io.ReadAll(r.Body)
	if err != nil || r.ContentLength != int64(len(body)) {
		t.Fatalf("%d bytes of %d, %v", len(body), r.ContentLength, err)
	}
	if r.URL.EscapedPath() != "/v1/channels/fleets%2F1%2Fcommands/publish" || !strings.HasPrefix(string(body), `{"data":{"t":"~0000000000000001"`) {
		t.Errorf("%s %s", r.URL.EscapedPath(), body)
	}
	if _, refused := auth.Authenticate(directory, r.Header.Get("Authorization")); refused != nil {
		t.Error(refused)
	}
}

func TestFleetwireCommand(t *testing.T) {
	f, _ := fleetwire(t)
	request := string(f.Command("devices/a", Body(100)).Stamp(0))
	if !strings.HasPrefix(request, "POST /v1/channels/devices%2Fa/commands HTTP/1.1\r\n") {
		t.Errorf("request %q", request)
	}
	message := protocol.AppendMessage(nil, "devices/a", "server", nil, Body(100))
	if got := CommandAnswer(message); got != nil {
		t.Errorf("a message is answered with %q", got)
	}
	answer := CommandAnswer(protocol.AppendCommand(nil, message, protocol.CommandRef{ID: "cmd_1", Attempt: 1, ExpiresInMs: -1, TimeoutMs: 1000}))
	if want := ClientFrame(OpText, []byte(`{"type":"answer","command":"cmd_1","data":{"uptime":3}}`)); !bytes.Equal(answer, want) {
		t.Errorf("a command is answered with %q", answer)
	}
}

func TestTheFloorWritesWhatANodeWould(t *testing.T) {
	_, payload := unframed(t, Floor{}.Publish("fleets/1", Body(40)).Stamp(0))
	if want := protocol.AppendMessage(nil, "fleets/1", "server", nil, Body(40)); !bytes.Equal(payload, want) {
		t.Errorf("%s, want %s", payload, want)
	}
}

func TestNATS(t *testing.T) {
	o := NATS{}.Open("device-1", nil, []string{"sites/*/events", "b"})
	_, say := unframed(t, o.Steps[1].Send)
	if _, commands, _ := strings.Cut(string(say), "\r\n"); commands != "SUB sites.*.events 1\r\nSUB b 2\r\nPING\r\n" {
		t.Errorf("says %q", commands)
	}
	body := Body(100)
	_, publish := unframed(t, NATS{}.Publish("sites/1/events", body).Stamp(0))
	if want := "PUB sites.1.events 100\r\n" + string(body) + "\r\n"; string(publish) != want {
		t.Errorf("publishes %q, want %q", publish, want)
	}
}

func TestMQTT(t *testing.T) {
	o := MQTT{}.Open("device-1", nil, []string{"sites/*/events"})
	_, connect := unframed(t, o.Steps[0].Send)
	if want := "\x10\x14\x00\x04MQTT\x04\x02\x00\x00\x00\x08device-1"; string(connect) != want {
		t.Errorf("connects with %q, want %q", connect, want)
	}
	_, subscribe := unframed(t, o.Steps[1].Send)
	if want := "\x82\x13\x00\x01\x00\x0esites/+/events\x00"; string(subscribe) != want {
		t.Errorf("subscribes with %q, want %q", subscribe, want)
	}
	if want := "\x90\x03\x00\x01\x00"; o.Steps[1].Expect != want {
		t.Errorf("waits for %q, want %q", o.Steps[1].Expect, want)
	}
	for _, size := range []int{40, 200, 20_000, 3_000_000} {
		_, packet := unframed(t, MQTT{}.Publish("a/b", Body(size)).Stamp(0))
		n, used := binary.Uvarint(packet[1:]) // the same encoding
		if packet[0] != 0x30 || int(n) != len(packet)-1-used || int(n) != 5+size {
			t.Errorf("a body of %d: remaining length %d of %d bytes", size, n, len(packet))
		}
	}
}

func TestCentrifugo(t *testing.T) {
	d := Centrifugo{TokenKey: "a key of tokens", APIKey: "a key of the API"}
	o := d.Open("device-1", nil, []string{"a/commands", "b"})
	var replies []string
	for i, want := range []string{`{"id":1,"connect":{"token":"`, `{"id":2,"subscribe":{"channel":"a/commands"}}`, `{"id":3,"subscribe":{"channel":"b"}}`} {
		_, command := unframed(t, o.Steps[i].Send)
		if !strings.HasPrefix(string(command), want) || !json.Valid(command) {
			t.Errorf("command %s, want %s", command, want)
		}
		replies = append(replies, o.Steps[i].Expect)
	}
	if strings.Join(replies, " ") != `{"id":1,"connect": {"id":2,"subscribe": {"id":3,"subscribe":` {
		t.Errorf("waits for %q", replies)
	}

	_, connect := unframed(t, o.Steps[0].Send)
	_, rest, _ := strings.Cut(string(connect), `"token":"`)
	token, _, _ := strings.Cut(rest, `"`)
	key := func(*jwt.Token) (any, error) { return []byte(d.TokenKey), nil }
	if parsed, err := jwt.Parse(token, key, jwt.WithValidMethods([]string{"HS256"})); err != nil {
		t.Errorf("token %s: %v", token, err)
	} else if subject, err := parsed.Claims.GetSubject(); subject != "device-1" {
		t.Errorf("the token is for %q, %v", subject, err)
	}

	body := Body(100)
	_, publish := unframed(t, d.Publish("a/events", body).Stamp(0))
	if want := `{"id":1,"publish":{"channel":"a/events","data":` + string(body) + `}}`; string(publish) != want {
		t.Errorf("publishes %s, want %s", publish, want)
	}
	r := request(t, d.REST("a/commands", body).Stamp(0))
	posted, err := io.ReadAll(r.Body)
	if want := `{"channel":"a/commands","data":` + string(body) + `}`; err != nil || string(posted) != want || r.URL.Path != "/api/publish" || r.Header.Get("X-API-Key") != d.APIKey {
		t.Errorf("%s %v %s, %v; want %s", r.URL, r.Header, posted, err, want)
	}
}
