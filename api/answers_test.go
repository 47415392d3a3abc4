package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/functions/routes"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/command"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/events"
	"fleetwire/pkg/group"
	"fleetwire/pkg/history"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/registry"
	"fleetwire/pkg/sink"
	"fleetwire/pkg/usage"
)

const appsDocument = `{"apps":[
 {"id":"app_api","groups":[{"name":"ingest","patterns":["devices/*/events"]},{"name":"fleet","patterns":["fleets/**"]},{"name":"crm","patterns":["devices/*/alarms"],"sink":{"type":"webhook","url":"https://crm.example.com","secrets":["env:CRM"]}}],"history":[{"pattern":"devices/*/state","size":1,"ttlSec":60}],"keys":[
  {"id":"sk_live_full","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["devices/**"],"actions":["publish","subscribe","presence","send"]},
  {"id":"sk_live_viewer","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["devices/**"],"actions":["publish","subscribe","presence","send"],"role":"viewer"},
  {"id":"sk_live_idle","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["devices/**"],"actions":[]}]},
 {"id":"app_paused","suspended":true,"keys":[
  {"id":"sk_live_paused","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish"]}]}]}`

const (
	fullKey   = "sk_live_full:0123456789abcdef0123456789abcdef"
	viewerKey = "sk_live_viewer:0123456789abcdef0123456789abcdef"
	idleKey   = "sk_live_idle:0123456789abcdef0123456789abcdef"
	pausedKey = "sk_live_paused:0123456789abcdef0123456789abcdef"
)

// backend stands for everything behind the handlers, and does as it is told.
type backend struct{ limit, door string }

func (b backend) AllowREST(context.Context, *apps.Key) (bool, time.Duration, error) {
	switch b.limit {
	case "over":
		return false, 300 * time.Millisecond, nil
	case "unknown":
		return false, 0, errors.New("no Redis")
	case "panic":
		panic("a fault of ours")
	}
	return true, 0, nil
}

// Check is the real door's.
func (b backend) Check(m publish.Message) *protocol.Error {
	return m.Grant.Check(apps.ActionPublish, m.Channel)
}

// Publish answers what the real door has from Redis, the token first.
func (b backend) Publish(ctx context.Context, m publish.Message) publish.Result {
	if m.TakeToken {
		switch ok, wait, err := b.AllowREST(ctx, m.Grant.Key); {
		case err != nil:
			return publish.Result{Err: protocol.Errorf(protocol.BackendError, "")}
		case !ok:
			return publish.Result{Err: protocol.Errorf(protocol.RateLimited, ""), RetryAfter: wait}
		}
	}
	switch b.door {
	case "":
	case "quota":
		return publish.Result{Err: protocol.Errorf(protocol.OverMessageQuota, ""), RetryAfter: time.Hour}
	case "offset_mismatch":
		return publish.Result{Err: protocol.Errorf(protocol.OffsetMismatch, ""), Position: &position, Current: &remembered[0]}
	default:
		return publish.Result{Err: protocol.Errorf(protocol.Code(b.door), "")}
	}
	return publish.Result{Subscribers: 3, Position: &position}
}

func (b backend) Submit(m publish.Message, done publish.Completion) *protocol.Error {
	if refused := b.Check(m); refused != nil {
		return refused
	}
	done.Published(b.Publish(context.Background(), m))
	return nil
}

func (backend) Report(_ context.Context, app *apps.App) (usage.Report, error) {
	return usage.Report{AppID: app.ID, PeriodStartUnix: 1767225600, PeriodEndUnix: 1769904000, ConcurrentNow: 7, Plan: usage.Plan{Name: "dev"}}, nil
}

func (backend) Top(_ context.Context, _ string, _ usage.Kind, _ *channel.Pattern, _ int, cursor string) (usage.Page, error) {
	page := usage.Page{Entries: []usage.Entry{{Name: "devices/camera-001", Published: 4031, Bytes: 512344}}, Other: usage.Entry{Published: 7, Bytes: 70}}
	switch cursor {
	case "":
		page.Next = "next"
	case "wrong":
		return page, usage.ErrCursor
	}
	return page, nil
}

// A channel's memory: its position and messages.
var (
	position   = protocol.Position{Epoch: "6Hq2x0vW", Offset: 42}
	remembered = []history.Message{{Offset: 42, At: 1767222000123, From: "camera-001", Data: []byte(`{"on":true}`)}}
)

// memory stands for what channels remember.
type memory struct{}

func (memory) Read(_ context.Context, reads []*history.Read) error {
	reads[0].Position, reads[0].Recovered, reads[0].Messages = position, true, remembered
	return nil
}

func (memory) Forget(context.Context, *apps.App, string) error { return nil }

// waiting stands for messages that wait for groups.
type waiting struct{}

var content = envelope.Content{From: "camera-001", FromMetadata: []byte(`{"name":"Yard"}`), Data: []byte(`{"on":true}`)}

func (waiting) Wait(context.Context, group.Pull, string, time.Duration) ([]group.Message, error) {
	return []group.Message{{AckID: "a", Channel: "devices/a/events", PublishedAt: 1767222000123, Attempt: 1, Content: content}}, nil
}

func (waiting) Ack(_ context.Context, _ *apps.App, _ *apps.Group, acks []string, nacks []group.Nack) ([]bool, error) {
	held := make([]bool, len(acks)+len(nacks))
	held[0] = true
	return held, nil
}

func (waiting) State(context.Context, *apps.App, *apps.Group) (group.State, error) {
	return group.State{Lag: 3, Pending: 2, Consumers: []group.Consumer{{Name: "a", Pending: 2}}}, nil
}

func (waiting) Dead(context.Context, *apps.App, *apps.Group, string, int) ([]group.DeadLetter, string, error) {
	return []group.DeadLetter{{ID: "a", Channel: "devices/a/events", PublishedAt: 1767222000123, BuriedAt: 1767222000124, Attempts: 3, Reason: group.ReasonNack, Content: content}}, "a", nil
}

func (waiting) Redrive(context.Context, *apps.App, *apps.Group, []string) (int, error) { return 1, nil }

func (waiting) DeleteDead(context.Context, *apps.App, *apps.Group, []string) (int, error) {
	return 1, nil
}

func (waiting) Read(context.Context, *apps.App, *apps.Group) (sink.State, error) {
	return sink.State{Condition: sink.Failing, Since: 1767222000123, RetryAt: 1767222004123, LastError: "the endpoint answered 503 Service Unavailable", LastErrorAt: 1767222000123, LastDeliveredAt: 1767221999123}, nil
}

func (waiting) Resume(context.Context, *apps.App, *apps.Group) error { return nil }

func (backend) list(_ context.Context, _, _, after string, _ int) (presence.Page, error) {
	page := presence.Page{Members: []presence.Member{{Peer: "camera-001", Metadata: `{"name":"Hall"}`}, {Peer: "camera-002"}}}
	if after == "" {
		page.Next = "camera-002"
	}
	return page, nil
}

func (backend) List(_ context.Context, _ *apps.App, q registry.Query) (registry.Page, error) {
	page := registry.Page{Peers: []registry.Peer{knownPeer, {PeerID: "camera-002", Epoch: 1, ConnectedAt: 1, LastSeenAt: 2, LastDisconnect: &registry.Disconnect{At: 2, Code: 1006, Reason: registry.Lost}}}}
	if q.After == "" {
		page.Next = "camera-002"
	}
	return page, nil
}

func (backend) Get(_ context.Context, _ *apps.App, peer string) (registry.Peer, bool, error) {
	return knownPeer, peer == knownPeer.PeerID, nil
}

// reporting stands for the nodes.
type reporting struct{}

// Open tells one event of each type, with all that it can have.
func (reporting) Open(_ context.Context, _ *apps.Key, r events.Request) (<-chan events.Event, error) {
	if r.Peer == "full" {
		return nil, events.ErrTooMany
	}
	stream := make(chan events.Event, 10)
	defer close(stream)
	for _, e := range []events.Event{
		{Type: events.Connect, Address: "192.0.2.7", UserAgent: "camera/1"},
		{Type: events.Refusal, Key: "sk_live_full", Code: 4002, Reason: "token expired"},
		{Type: events.Close, Code: 4020, Reason: "disconnected", By: "server"},
		{Type: events.Error, Code: protocol.ChannelReserved, Message: "reserved"},
		{Type: events.Frame, Direction: "in", Frame: `{"type":"ping"}`, Truncated: true},
	} {
		e.At, e.Node, e.PeerID, e.Connection = 1767222000123, "n", "camera-001", "n-2s"
		stream <- e
	}
	stream <- events.Event{Type: events.Message, At: 1767222000123, Channel: "devices/a", From: "server", Metadata: []byte("{}"), Data: []byte("null"), Offset: 42}
	stream <- events.Event{Type: events.Sampled, At: 1767222000123, Dropped: 31}
	stream <- events.Event{Type: events.End, At: 1767222000123, Reason: "time_limit"}
	return stream, nil
}

func (reporting) Report(context.Context, string) ([]json.RawMessage, int, error) {
	return []json.RawMessage{json.RawMessage(`{"node":"n","version":"v1","startedAt":1767222000123,"draining":false,"ready":true,"connections":1,"messages":2,"deliveries":3,"dropped":{"rate_limited":1},"closes":{"other":1},"refusals":{"429":2},"redis":{"up":true,"seconds":0.0004}}`)}, 1, nil
}

func (backend) Show(context.Context, string, string, []string) ([]json.RawMessage, error) {
	return []json.RawMessage{json.RawMessage(`[{"id":"n-1","node":"n","protocol":"websocket","address":"192.0.2.7","connectedAt":1,"userAgent":"x","subscriptions":["devices/a"]}]`)}, nil
}

var knownPeer = registry.Peer{PeerID: "camera-001", Online: true, Epoch: 42, ConnectedAt: 1, LastSeenAt: 2, Metadata: json.RawMessage(`{"a":1}`)}

func (backend) Disconnect(context.Context, string, string) (int64, error)  { return 2, nil }
func (backend) Revoke(context.Context, *apps.App, string, time.Time) error { return nil }

// The commands that there are: one has ended, one waits, one is on a foreign channel.
var (
	endedCommand = &command.Command{
		ID: commandID, Channel: "devices/camera-001/commands", Data: []byte(`{"cmd":"reboot"}`), From: "server", Status: command.Mixed, CreatedAt: 1767222000123, Expect: 1,
		Counts: command.Counts{Succeeded: 1, TimedOut: 1}, More: true,
		Answers: []command.PeerAnswer{
			{Peer: "a", Status: command.Succeeded, Data: []byte("1"), Attempt: 1, SentAt: 1, AnsweredAt: 2},
			{Peer: "b", Status: command.TimedOut, Attempt: 5, SentAt: 1, Late: &command.LateAnswer{Status: command.Failed, Data: []byte("1"), AnsweredAt: 3}},
		},
	}
	openCommand = &command.Command{ID: strings.Replace(commandID, "q", "r", 1), Channel: "devices/camera-001/commands", Data: []byte("1"), From: "server",
		Status: command.Waiting, CreatedAt: 1, ExpiresAt: 2, Expect: 1, Answers: []command.PeerAnswer{{Peer: "a", Status: command.Sent, Attempt: 1, SentAt: 1}}}
	foreignCommand = &command.Command{ID: strings.Replace(commandID, "q", "f", 1), Channel: "fleets/x"}
)

// commands stands for what keeps them.
type commands struct{ backend }

func (b commands) Create(ctx context.Context, n command.New, wait time.Duration) (*command.Command, *command.Refusal) {
	if !n.HasToken {
		switch ok, wait, err := b.AllowREST(ctx, n.Key); {
		case err != nil:
			return nil, &command.Refusal{Error: protocol.Errorf(protocol.BackendError, "")}
		case !ok:
			return nil, &command.Refusal{Error: protocol.Errorf(protocol.RateLimited, ""), RetryAfter: wait}
		}
	}
	if b.door != "" {
		return nil, &command.Refusal{Error: protocol.Errorf(protocol.Code(b.door), ""), RetryAfter: time.Second}
	}
	if wait == 0 {
		return openCommand, nil
	}
	return endedCommand, nil
}

func (commands) find(id string) (*command.Command, error) {
	for _, c := range []*command.Command{endedCommand, openCommand, foreignCommand} {
		if c.ID == id {
			return c, nil
		}
	}
	return nil, command.ErrNotFound
}

func (b commands) Channel(_ context.Context, _, id string) (string, error) {
	c, err := b.find(id)
	if err != nil {
		return "", err
	}
	return c.Channel, nil
}

func (b commands) Wait(_ context.Context, _ *apps.Key, id string, _ time.Duration) (*command.Command, error) {
	return b.find(id)
}

func (b commands) Cancel(_ context.Context, _, id string) (*command.Command, error) {
	if id == endedCommand.ID {
		return nil, command.ErrFinal
	}
	return b.find(id)
}

func (commands) List(context.Context, string, string, command.Status, string, int) (command.Page, error) {
	return command.Page{Commands: []*command.Command{endedCommand, openCommand}, Next: "1767222000123000"}, nil
}

func (commands) OfPeer(context.Context, string, string, string, int, func(string) bool) (command.OfPeerPage, error) {
	return command.OfPeerPage{Commands: []command.OfPeer{{Command: endedCommand, Answer: endedCommand.Answers[0]}, {Command: openCommand, Answer: endedCommand.Answers[1]}}, Next: "1767222000123 " + commandID}, nil
}

func (commands) Answers(context.Context, string, string, command.Status, string, int) (command.AnswersPage, error) {
	return command.AnswersPage{Answers: endedCommand.Answers, Next: "b"}, nil
}

// request is one to the control plane, and what is behind it then.
type request struct {
	path, method string // as in the document
	target       string // the path, filled in; "" means that it is as in the document
	key, body    string
	contentType  string
	backend      backend
}

// answer is what the handlers say to a request.
type answer struct {
	request
	status int
	header http.Header
	body   string
}

func (a answer) String() string {
	return fmt.Sprintf("%s %s%s with %.200q: %d %s", a.request.method, a.path, a.target, a.request.body, a.status, a.body)
}

func (r request) send() answer {
	directory, err := apps.Parse([]byte(appsDocument))
	if err != nil {
		panic(err)
	}
	handler := routes.New(routes.Config{
		Apps: apps.NewStore(directory), Limiter: r.backend, Publisher: r.backend, Connections: r.backend, Revocations: r.backend, Members: r.backend.list, Registry: r.backend, Shower: r.backend, Reporter: reporting{}, Events: reporting{}, Commands: commands{r.backend}, History: memory{}, Groups: waiting{}, Sinks: waiting{},
		Usage: r.backend, Log: slog.New(slog.DiscardHandler),
	})
	target := r.target
	if target == "" {
		target = r.path
	}
	in := httptest.NewRequest(strings.ToUpper(r.method), target, strings.NewReader(r.body))
	if r.key != "" {
		in.Header.Set("Authorization", "Bearer "+r.key)
	}
	if r.contentType != "" {
		in.Header.Set("Content-Type", r.contentType)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, in)
	body, _ := io.ReadAll(w.Result().Body)
	return answer{r, w.Code, w.Header(), string(body)}
}

// good has a request for each operation, one that succeeds and uses every field.
var good = []request{
	{path: "/v1/tokens", method: "post", body: `{"peerId":"camera-001","channels":["devices/camera-001/*"],"permissions":["publish"],"expiresInSec":60,"metadata":{"a":1},"peerMetadata":{}}`},
	{path: "/v1/channels/{channel}/publish", method: "post", target: "/v1/channels/devices%2Fcamera-001%2Fcommands/publish", body: `{"data":{"cmd":"reboot"},"from":"operator-3","peerMetadata":{"name":"x"},"idempotencyKey":"k","ifOffset":0,"ifEpoch":"6Hq2"}`},
	{path: "/v1/publish", method: "post", body: `{"messages":[{"channel":"devices/a","data":{"cmd":"reboot"},"from":"operator-3","peerMetadata":{"name":"x"},"idempotencyKey":"k","ifOffset":0,"ifEpoch":"6Hq2"},{"channel":"fleets/a","data":1}]}`},
	{path: "/v1/channels/{channel}/messages", method: "get", target: "/v1/channels/devices%2Fa%2Fstate/messages?since=6Hq2:41&limit=2"},
	{path: "/v1/channels/{channel}/messages", method: "get", target: "/v1/channels/devices%2Fa%2Fstate/messages?last=1"},
	{path: "/v1/channels/{channel}/messages", method: "delete", target: "/v1/channels/devices%2Fa%2Fstate/messages"},
	{path: "/v1/channels/{channel}/peers", method: "get", target: "/v1/channels/devices%2Fcamera-001%2Fcommands/peers"},
	{path: "/v1/channels/{channel}/peers", method: "get", target: "/v1/channels/devices%2Fcamera-001%2Fcommands/peers?limit=2&cursor=YQ"},
	{path: "/v1/channels/{channel}/peers", method: "get", target: "/v1/channels/devices%2Fcamera-001%2Fcommands/peers?limit=0"},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/devices%2Fcamera-001%2Fcommands/commands", body: `{"data":{"cmd":"reboot"},"from":"operator-3","waitMs":5,"ttlMs":60000,"timeoutMs":1000,"expect":2,"idempotencyKey":"k","collapseKey":"c","notify":"devices/n","rollout":{"perMinute":60,"abort":{"failedPct":10,"minAnswered":20}}}`},
	{path: "/v1/channels/{channel}/commands", method: "get", target: "/v1/channels/devices%2Fcamera-001%2Fcommands/commands?status=active&limit=2&cursor=MQ"},
	{path: "/v1/commands/{id}", method: "get", target: "/v1/commands/" + endedCommand.ID + "?waitMs=5"},
	{path: "/v1/commands/{id}", method: "delete", target: "/v1/commands/" + openCommand.ID},
	{path: "/v1/commands/{id}/answers", method: "get", target: "/v1/commands/" + endedCommand.ID + "/answers?status=sent&limit=2&cursor=YQ"},
	{path: "/v1/groups/{group}", method: "get", target: "/v1/groups/ingest"},
	{path: "/v1/groups/{group}/pull", method: "post", target: "/v1/groups/ingest/pull", body: `{"max":5,"maxBytes":65536,"waitMs":5,"consumer":"a"}`},
	{path: "/v1/groups/{group}/ack", method: "post", target: "/v1/groups/ingest/ack", body: `{"ackIds":["a","b"],"nack":[{"ackId":"c","delayMs":1}]}`},
	{path: "/v1/groups/{group}/dead", method: "get", target: "/v1/groups/ingest/dead?limit=2&cursor=YQ"},
	{path: "/v1/groups/{group}/dead", method: "delete", target: "/v1/groups/ingest/dead?id=a"},
	{path: "/v1/groups/{group}/redrive", method: "post", target: "/v1/groups/ingest/redrive", body: `{"ids":["a"]}`},
	{path: "/v1/groups/{group}/resume", method: "post", target: "/v1/groups/crm/resume", body: `{}`},
	{path: "/v1/peers", method: "get", target: "/v1/peers?prefix=cam&online=true&seenBefore=5&limit=2&cursor=YQ"},
	{path: "/v1/peers/{peer}", method: "get", target: "/v1/peers/camera-001"},
	{path: "/v1/peers/{peer}", method: "delete", target: "/v1/peers/camera-001?revoke=true"},
	{path: "/v1/peers/{peer}/commands", method: "get", target: "/v1/peers/camera-001/commands?limit=2&cursor=MTc2NyBh"},
	{path: "/v1/nodes", method: "get"},
	{path: "/v1/events", method: "get", target: "/v1/events?peer=camera-001&types=connect,refusal,close,error&channel=devices/*"},
	{path: "/v1/usage", method: "get"},
	{path: "/v1/usage/channels", method: "get", target: "/v1/usage/channels?pattern=devices/*&limit=10&cursor="},
	{path: "/v1/usage/peers", method: "get", target: "/v1/usage/peers?pattern=camera-*&limit=10&cursor="},
}

// bad are the refusals that are an operation's own.
var bad = append(badOfGroups(), []request{
	{path: "/v1/groups/{group}", method: "get", target: "/v1/groups/crm"},
	{path: "/v1/groups/{group}/pull", method: "post", target: "/v1/groups/crm/pull", body: `{}`},
	{path: "/v1/groups/{group}/resume", method: "post", target: "/v1/groups/ingest/resume"},
	{path: "/v1/tokens", method: "post", body: `{"peerId":"ü"}`},
	{path: "/v1/tokens", method: "post", body: `{"peerId":"p","channels":["devices/../x"]}`},
	{path: "/v1/tokens", method: "post", body: `{"peerId":"p","channels":["_system/x"]}`},
	{path: "/v1/tokens", method: "post", body: `{"peerId":"p","channels":["fleets/**"]}`},
	{path: "/v1/tokens", method: "post", key: idleKey, body: `{"peerId":"p","permissions":["publish"]}`},
	{path: "/v1/channels/{channel}/publish", method: "post", target: "/v1/channels/devices%2Fx/publish", body: `{}`},
	{path: "/v1/channels/{channel}/publish", method: "post", target: "/v1/channels/devices%2Fx/publish", body: `{"data":1,"from":"ü"}`},
	{path: "/v1/channels/{channel}/publish", method: "post", target: "/v1/channels/devices%2F../publish", body: `{"data":1}`},
	{path: "/v1/channels/{channel}/publish", method: "post", target: "/v1/channels/_system%2Fx/publish", body: `{"data":1}`},
	{path: "/v1/channels/{channel}/publish", method: "post", target: "/v1/channels/fleets%2Fx/publish", body: `{"data":1}`},
	{path: "/v1/channels/{channel}/publish", method: "post", target: "/v1/channels/devices%2Fx/publish", key: idleKey, body: `{"data":1}`},
	{path: "/v1/channels/{channel}/publish", method: "post", target: "/v1/channels/devices%2Fx/publish", body: `{"data":1}`, backend: backend{door: "quota"}},
	{path: "/v1/channels/{channel}/publish", method: "post", target: "/v1/channels/devices%2Fx/publish", body: `{"data":1}`, backend: backend{door: "offset_mismatch"}},
	{path: "/v1/channels/{channel}/publish", method: "post", target: "/v1/channels/devices%2Fx/publish", body: `{"data":1}`, backend: backend{door: "idempotency_conflict"}},
	{path: "/v1/channels/{channel}/publish", method: "post", target: "/v1/channels/devices%2Fx/publish", body: `{"data":1}`, backend: backend{door: "group_full"}},
	{path: "/v1/channels/{channel}/messages", method: "get", target: "/v1/channels/devices%2F../messages"},
	{path: "/v1/channels/{channel}/messages", method: "get", target: "/v1/channels/_system%2Fx/messages"},
	{path: "/v1/channels/{channel}/messages", method: "get", target: "/v1/channels/fleets%2Fx/messages"},
	{path: "/v1/channels/{channel}/messages", method: "get", target: "/v1/channels/devices%2Fx/messages", key: idleKey},
	{path: "/v1/channels/{channel}/messages", method: "delete", target: "/v1/channels/devices%2F../messages"},
	{path: "/v1/channels/{channel}/messages", method: "delete", target: "/v1/channels/_system%2Fx/messages"},
	{path: "/v1/channels/{channel}/messages", method: "delete", target: "/v1/channels/fleets%2Fx/messages"},
	{path: "/v1/channels/{channel}/messages", method: "delete", target: "/v1/channels/devices%2Fx/messages", key: idleKey},
	{path: "/v1/channels/{channel}/peers", method: "get", target: "/v1/channels/devices%2F../peers"},
	{path: "/v1/channels/{channel}/peers", method: "get", target: "/v1/channels/_system%2Fx/peers"},
	{path: "/v1/channels/{channel}/peers", method: "get", target: "/v1/channels/fleets%2Fx/peers"},
	{path: "/v1/channels/{channel}/peers", method: "get", target: "/v1/channels/devices%2Fx/peers", key: idleKey},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/devices%2Fx/commands", body: `{}`},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/devices%2Fx/commands", body: `{"data":1,"waitMs":0}`},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/devices%2Fx/commands", body: `{"data":1,"from":"ü"}`},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/devices%2F../commands", body: `{"data":1}`},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/_system%2Fx/commands", body: `{"data":1}`},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/fleets%2Fx/commands", body: `{"data":1}`},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/devices%2Fx/commands", key: idleKey, body: `{"data":1}`},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/devices%2Fx/commands", body: `{"data":1}`, backend: backend{door: "over_message_quota"}},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/devices%2Fx/commands", body: `{"data":1}`, backend: backend{door: "queue_full"}},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/devices%2Fx/commands", body: `{"data":1}`, backend: backend{door: "nobody_subscribed"}},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/devices%2Fx/commands", body: `{"data":1}`, backend: backend{door: "idempotency_conflict"}},
	{path: "/v1/channels/{channel}/commands", method: "post", target: "/v1/channels/devices%2Fx/commands", body: `{"data":1}`, backend: backend{door: "command_not_found"}},
	{path: "/v1/channels/{channel}/commands", method: "get", target: "/v1/channels/devices%2F../commands"},
	{path: "/v1/channels/{channel}/commands", method: "get", target: "/v1/channels/_system%2Fx/commands"},
	{path: "/v1/channels/{channel}/commands", method: "get", target: "/v1/channels/fleets%2Fx/commands"},
	{path: "/v1/channels/{channel}/commands", method: "get", target: "/v1/channels/devices%2Fx/commands", key: idleKey},
	{path: "/v1/commands/{id}", method: "get", target: "/v1/commands/" + openCommand.ID + "?waitMs=5"},
	{path: "/v1/commands/{id}", method: "get", target: "/v1/commands/" + foreignCommand.ID},
	{path: "/v1/commands/{id}", method: "delete", target: "/v1/commands/" + endedCommand.ID},
	{path: "/v1/commands/{id}", method: "delete", target: "/v1/commands/unknown"},
	{path: "/v1/commands/{id}/answers", method: "get", target: "/v1/commands/unknown/answers"},
	{path: "/v1/peers", method: "get", key: idleKey},
	{path: "/v1/peers", method: "get"},
	{path: "/v1/peers/{peer}", method: "get", target: "/v1/peers/%C3%BC"},
	{path: "/v1/peers/{peer}", method: "get", target: "/v1/peers/camera-009"},
	{path: "/v1/peers/{peer}", method: "get", target: "/v1/peers/camera-001", key: idleKey},
	{path: "/v1/peers/{peer}", method: "delete", target: "/v1/peers/%C3%BC"},
	{path: "/v1/peers/{peer}/commands", method: "get", target: "/v1/peers/%C3%BC/commands"},
	{path: "/v1/peers/{peer}/commands", method: "get", target: "/v1/peers/a/commands", key: idleKey},
	{path: "/v1/nodes", method: "get", key: idleKey},
	{path: "/v1/events", method: "get", key: idleKey},
	{path: "/v1/events", method: "get", target: "/v1/events?peer=camera-001"}, // frames of all channels
	{path: "/v1/events", method: "get", target: "/v1/events?peer=%C3%BC"},
	{path: "/v1/events", method: "get", target: "/v1/events?channel=a/../b"},
	{path: "/v1/events", method: "get", target: "/v1/events?channel=_system/x"},
	{path: "/v1/events", method: "get", target: "/v1/events?peer=full&types=close"},
	{path: "/v1/peers/{peer}", method: "delete", target: "/v1/peers/camera%20001?revoke=false"},
	{path: "/v1/usage/channels", method: "get", target: "/v1/usage/channels?cursor="},
	{path: "/v1/usage/channels", method: "get", target: "/v1/usage/channels?cursor=last"},
	{path: "/v1/usage/channels", method: "get", target: "/v1/usage/channels?cursor=wrong"},
	{path: "/v1/usage/peers", method: "get", target: "/v1/usage/peers?cursor=last"},
}...)

// badOfGroups are the refusals that all operations on groups have in common.
func badOfGroups() (all []request) {
	for _, r := range good {
		if !strings.HasPrefix(r.path, "/v1/groups/") {
			continue
		}
		other, foreign, idle := r, r, r
		other.target = strings.NewReplacer("/ingest", "/other", "/crm", "/other").Replace(r.target)
		foreign.target = strings.NewReplacer("/ingest", "/fleet", "/crm", "/fleet").Replace(r.target)
		idle.key = idleKey
		all = append(all, other, foreign, idle)
	}
	return all
}

// answers are those to good, to bad, and to good in every trouble that any
// operation can meet.
var answers = sync.OnceValue(func() (all []answer) {
	for _, r := range append(slices.Clone(good), bad...) {
		if r.key == "" {
			r.key = fullKey
		}
		all = append(all, r.send())
	}
	for _, r := range good {
		variant := func(change func(*request)) {
			r := r
			r.key = fullKey
			change(&r)
			all = append(all, r.send())
		}
		variant(func(r *request) { r.key = "" })
		variant(func(r *request) { r.key = pausedKey })
		variant(func(r *request) { r.key = viewerKey })
		variant(func(r *request) { r.backend.limit = "over" })
		variant(func(r *request) { r.backend.limit = "unknown" })
		variant(func(r *request) { r.backend.limit = "panic" })
		if r.method == "post" {
			variant(func(r *request) { r.body = `[]` })
			variant(func(r *request) { r.body = `{"data":"` + strings.Repeat("x", protocol.MaxPublishBodyBytes) + `"}` })
			variant(func(r *request) { r.contentType = "text/plain" })
		} else {
			variant(func(r *request) { r.target = query(*r) + "unknown=1" })
		}
	}
	return all
})

// query is the request's target, ready for one more parameter.
func query(r request) string {
	target := r.target
	if target == "" {
		target = r.path
	}
	if strings.Contains(target, "?") {
		return target + "&"
	}
	return target + "?"
}

// checkAnswers: what the handlers answer is described, and all that is
// described is answered by something here.
func checkAnswers(d *document) (found []string) {
	seen := map[string]bool{}
	for _, a := range answers() {
		found = append(found, checkAnswer(d, a)...)
		seen[fmt.Sprintf("%s %s %d %s", a.method, a.path, a.status, errorCode(a.body))] = true
	}
	for _, r := range good {
		found = append(found, checkRequest(d, r, seen)...)
		a := request{path: r.path, method: r.method, target: "/v1/elsewhere", key: fullKey}.send()
		found = append(found, checkAnswer(d, a)...)
	}

	var documented []string
	for path, operations := range d.object("paths") {
		for method := range operations.(map[string]any) {
			for status := range d.object("paths", path, method, "responses") {
				codes := texts(d.at("paths", path, method, "responses", status, "content", "application/json", "schema", "properties", "error", "enum"))
				if status == "404" { // not_found: no route has the path, so no operation is called
					codes = slices.DeleteFunc(codes, func(code string) bool { return code == "not_found" })
				} else if len(codes) == 0 {
					codes = []string{""}
				}
				for _, code := range codes {
					if code == "not_found" {
						continue // no route has the path, so no operation is called
					}
					documented = append(documented, fmt.Sprintf("%s %s %s %s", method, path, status, code))
				}
			}
		}
	}
	return append(found, differences("answers", documented, sortedKeys(seen))...)
}

func checkAnswer(d *document, a answer) (found []string) {
	at := []string{"paths", a.path, a.method, "responses", fmt.Sprint(a.status)}
	if d.at(at...) == nil {
		return []string{fmt.Sprintf("not described: %v", a)}
	}
	if a.header.Get("Content-Type") == "text/event-stream" {
		found = append(found, checkStream(d, a, append(at, "content", "text/event-stream", "schema"))...)
	} else if err := d.validate(a.body, d.resolve(append(at, "content", "application/json", "schema")...)...); err != nil {
		found = append(found, fmt.Sprintf("%v: %v", a, err))
	}
	for name := range d.object(append(at, "headers")...) {
		value := a.header.Get(name)
		quoted, _ := json.Marshal(value)
		if d.at(append(at, "headers", name, "schema", "type")...) == "integer" {
			quoted = []byte(value)
		}
		if err := d.validate(string(quoted), d.resolve(append(at, "headers", name, "schema")...)...); err != nil {
			found = append(found, fmt.Sprintf("%v: header %s %q: %v", a, name, value, err))
		}
	}
	if general := "`Cache-Control: " + a.header.Get("Cache-Control") + "`"; len(says(d, map[string][]string{general: {"info", "description"}})) > 0 {
		found = append(found, fmt.Sprintf("%v: the description does not say %s", a, general))
	}
	// The other way round: no header that matters goes undescribed.
	for name := range a.header {
		described := func(other string) bool { return http.CanonicalHeaderKey(other) == name }
		if !slices.Contains([]string{"Content-Type", "Content-Length", "Cache-Control"}, name) && !slices.ContainsFunc(sortedKeys(d.object(append(at, "headers")...)), described) {
			found = append(found, fmt.Sprintf("%v: header %s is not described", a, name))
		}
	}
	return found
}

// checkStream: the events of a stream are described.
func checkStream(d *document, a answer, schema []string) (found []string) {
	if d.at(append(schema, "type")...) != "string" {
		return []string{fmt.Sprintf("no stream is described: %v", a)}
	}
	for line := range strings.SplitSeq(a.body, "\n") {
		if name, ok := strings.CutPrefix(line, "event: "); ok && !slices.Contains(texts(d.at("components", "schemas", "EventType", "enum")), name) {
			found = append(found, fmt.Sprintf("the type %q is not described", name))
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := d.validate(data, "components", "schemas", "Event"); err != nil {
				found = append(found, fmt.Sprintf("%s: %v", line, err))
			}
		}
	}
	return found
}

// checkRequest: the operation takes the fields and the parameters that are
// described, needs those that are required, and answers another method with 405.
func checkRequest(d *document, r request, seen map[string]bool) (found []string) {
	r.key = fullKey
	what := r.method + " " + r.path
	schema := []string{"paths", r.path, r.method, "requestBody", "content", "application/json", "schema"}
	if r.body != "" {
		if err := d.validate(r.body, schema...); err != nil {
			found = append(found, fmt.Sprintf("%s: a good body: %v", what, err))
		}
		wrong := r
		wrong.body = `{"no such field":1}`
		found = append(found, differences(what+": fields", sortedKeys(d.object(append(schema, "properties")...)), listed(wrong.send(), "the fields are "))...)
		var needed []string
		for _, field := range sortedKeys(d.object(append(schema, "properties")...)) {
			without := r
			without.body = withoutField(r.body, field)
			for dependent, on := range d.object(append(schema, "dependentRequired")...) {
				if slices.Contains(texts(on), field) {
					without.body = withoutField(without.body, dependent)
				}
			}
			if without.send().status != http.StatusOK {
				needed = append(needed, field)
			}
		}
		found = append(found, differences(what+": required fields", texts(d.at(append(schema, "required")...)), needed)...)
	} else {
		wrong := r
		wrong.target = query(r) + "unknown=1"
		var parameters []string
		list, _ := d.at("paths", r.path, r.method, "parameters").([]any)
		for _, p := range list {
			parameters = append(parameters, d.descend(p).(map[string]any)["name"].(string))
		}
		found = append(found, differences(what+": parameters", parameters, listed(wrong.send(), "the parameters are ", "there is "))...)
	}

	other := r
	other.method = "patch"
	a := other.send()
	a.method = r.method // it is described there
	seen[fmt.Sprintf("%s %s %d %s", a.method, a.path, a.status, errorCode(a.body))] = true
	return append(found, checkAnswer(d, a)...)
}

// listed are the names that an error message ends with, after one of the words
// and a semicolon.
func listed(a answer, words ...string) []string {
	var body struct{ Message string }
	_ = json.Unmarshal([]byte(a.body), &body)
	for _, w := range words {
		if _, list, ok := strings.Cut(body.Message, "; "+w); ok {
			return strings.Split(list, ", ")
		}
	}
	return nil
}

func withoutField(body, field string) string {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &fields); err != nil {
		panic(err)
	}
	maps.DeleteFunc(fields, func(name string, _ json.RawMessage) bool { return name == field })
	out, _ := json.Marshal(fields)
	return string(out)
}

func errorCode(body string) string {
	var e struct{ Error string }
	_ = json.Unmarshal([]byte(body), &e)
	return e.Error
}
