//go:build linux

package scenario

import (
	"encoding/json"
	"fmt"
	"strings"

	"fleetwire/bench/internal/wire"
)

const (
	hostileDevice = "hostile"
	// hostileClaim is all that the device's token claims, unless it has others.
	hostileClaim = "hostile/**"
	hostileCrowd = "hostile/crowd" // where the others of its app are
	kinds        = 100             // so many different frames, patterns and channels are enough
)

// nuisance is a kind of frame that a device may send.
type nuisance struct {
	name, title string
	others      int      // connections of its app that are subscribed to hostileCrowd
	subscribes  []string // the device's own subscriptions, made before
	shown       bool     // others are shown metadata of the device, nearly as much as it may have
	// frames are sent over and over. Expect is in the answer to each.
	frames func(wire.Fleetwire) []wire.Step
}

func (n nuisance) token(f wire.Fleetwire) string {
	if n.shown {
		return f.Token(hostileDevice, []string{hostileClaim}, metadata("m"))
	}
	return f.Token(hostileDevice, []string{hostileClaim}, nil)
}

func metadata(fill string) []byte {
	return fmt.Appendf(nil, `{"m":"%s"}`, strings.Repeat(fill, 4000))
}

// nuisances are all kinds that are measured.
func (z size) nuisances() []nuisance {
	names, patterns := repeat("hostile/channel-%d"), make([]string, kinds)
	for i := range patterns {
		patterns[i] = "hostile/" + strings.Repeat("/", i/15) + "**" + strings.Repeat("/*", 1+i%15)
	}
	slashes := "hostile/" + strings.Repeat("/", 230)
	data := `"data":` + strings.ReplaceAll(string(wire.Body(bodySize)), string(wire.Marker), "-")
	joins := func(channels ...string) func(wire.Fleetwire) []wire.Step {
		return func(wire.Fleetwire) (all []wire.Step) {
			for _, c := range channels {
				all = append(all, request("subscribe", `"channel":"`+c+`"`, `"ack"`), request("unsubscribe", `"channel":"`+c+`"`, `"ack"`))
			}
			return all
		}
	}
	return []nuisance{
		{name: "ping", title: "ping", frames: always(request("ping", `"pad":0`, `"pong"`))},
		{name: "malformed", title: "frames that are none", frames: malformed},
		{name: "subscribe", title: "subscribe and unsubscribe", frames: joins(names...)},
		{name: "wildcard", title: "subscribe and unsubscribe to patterns with many wildcards", frames: joins(patterns...)},
		{name: "publish", title: "publish, 100 bytes to nobody", frames: always(request("publish", `"channel":"hostile/a",`+data, `"ack"`))},
		{name: "publish-large", title: "publish, 64 KiB to one subscriber", others: 1, frames: always(request("publish", `"channel":"`+hostileCrowd+`","data":"`+strings.Repeat("x", 65_400)+`"`, `"ack"`))},
		{name: "publish-fans", title: "publish, 100 bytes to 100 subscribers", others: z.fans, frames: always(request("publish", `"channel":"`+hostileCrowd+`",`+data, `"ack"`))},
		{name: "publish-slashes", title: "publish to //////…, itself subscribed to 100 patterns with many wildcards", subscribes: patterns, frames: always(request("publish", `"channel":"`+slashes+`",`+data, `"ack"`))},
		{name: "send-nobody", title: "send to a peer that is not there", frames: always(request("send", `"to":"nobody",`+data, `"peer_not_found"`))},
		{name: "send-self", title: "send to itself", frames: always(request("send", `"to":"`+hostileDevice+`",`+data, `"ack"`))},
		{name: "refresh-metadata", title: "refresh with other metadata (4 KB), in 100 channels", subscribes: names, shown: true, frames: func(f wire.Fleetwire) []wire.Step {
			return []wire.Step{refresh(f.Token(hostileDevice, []string{hostileClaim}, metadata("a"))), refresh(f.Token(hostileDevice, []string{hostileClaim}, metadata("b")))}
		}},
		{name: "refresh-patterns", title: "refresh with 100 patterns with many wildcards, subscribed to as many", subscribes: patterns, frames: func(f wire.Fleetwire) []wire.Step {
			return []wire.Step{refresh(f.Token(hostileDevice, patterns, nil))}
		}},
		{name: "presence", title: "join and leave, with metadata (4 KB), a channel with 1,000 watchers", others: z.crowd, shown: true, frames: joins(hostileCrowd)},
	}
}

func repeat(format string) []string {
	all := make([]string, kinds)
	for i := range all {
		all[i] = fmt.Sprintf(format, i)
	}
	return all
}

func always(frame wire.Step) func(wire.Fleetwire) []wire.Step {
	return func(wire.Fleetwire) []wire.Step { return []wire.Step{frame} }
}

// request is a frame that asks for an answer.
func request(kind, fields, expect string) wire.Step {
	payload := fmt.Appendf(nil, `{"type":"%s","requestId":"r",%s}`, kind, fields)
	return wire.Step{Send: wire.ClientFrame(wire.OpText, payload), Expect: expect}
}

// refresh may be refused, if comparing its patterns takes too much work.
func refresh(token string) wire.Step {
	quoted, _ := json.Marshal(token)
	return request("refresh", `"token":`+string(quoted), `"requestId":"r"`)
}

func malformed(wire.Fleetwire) (all []wire.Step) {
	for _, text := range []string{
		`{`, `[]`, `{"type":7}`, `{"type":"subscribe","channel":5}`, "\xff\xfe", strings.Repeat(`{"a":`, 300), `{"type":"publish","data":` + strings.Repeat("[", 60_000),
	} {
		all = append(all, wire.Step{Send: wire.ClientFrame(wire.OpBinary, []byte(text)), Expect: `"malformed_message"`})
	}
	return all
}
