package session

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/ingest"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/group"
)

// waiting is the messages that wait for a group. Each pull gets what stands in give.
type waiting struct {
	give  chan []group.Message
	acked chan string // what is said of messages

	mu    sync.Mutex
	fails error
}

func (g *waiting) Wait(ctx context.Context, p group.Pull, _ string, _ time.Duration) ([]group.Message, error) {
	select {
	case some := <-g.give:
		return some, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *waiting) Ack(_ context.Context, _ *apps.App, of *apps.Group, acks []string, nacks []group.Nack) ([]bool, error) {
	g.mu.Lock()
	err := g.fails
	g.mu.Unlock()
	if err != nil {
		return nil, err
	}
	g.acked <- fmt.Sprint(of.Name, acks, nacks)
	held := make([]bool, len(acks)+len(nacks))
	for i := range held {
		held[i] = i > 0 || len(acks) == 0 || acks[0] != "lost"
	}
	return held, nil
}

func (g *waiting) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fails = err
}

const groupsInDocument = `,
 "groups":[{"name":"ingest","patterns":["devices/*/events","devices/*/alarms"]},{"name":"all","patterns":["**"]},
  {"name":"crm","patterns":["devices/*/events"],"sink":{"type":"webhook","url":"https://crm.example.com","secrets":["env:CRM"]}}],
 "keys":[{"id":"sk_test"`

// withGroups is a world with two groups.
func withGroups(t *testing.T) (*world, *waiting) {
	w := newWorld(t)
	g := &waiting{give: make(chan []group.Message), acked: make(chan string, 100)}
	ingesters := ingest.NewIngesters(g, "node")
	w.opt.Groups = ingesters
	t.Cleanup(ingesters.Close)
	w.replace(`,
 "keys":[{"id":"sk_test"`, groupsInDocument)
	w.dir = w.store.Current()
	w.key, _ = w.dir.Key("sk_test")
	w.verifyWith(func(token, _ string) (*auth.Grant, *protocol.CloseError) {
		return auth.VerifyToken(w.dir, token, w.clock.now())
	})
	return w, g
}

func waits(ackID, data string) group.Message {
	return group.Message{AckID: ackID, Channel: "devices/a/events", PublishedAt: 7, Attempt: 1, Content: envelope.Content{From: "a", FromMetadata: []byte("{}"), Data: []byte(data)}}
}

func groupMessage(ackID, data string) want {
	return aText(`{"type":"message","channel":"devices/a/events","from":"a","data":` + data + `,"group":"ingest","publishedAt":7,"ackId":"` + ackID + `","attempt":1}`)
}

func (p *peer) readText() string {
	_, body := p.Read()
	return string(body)
}

func TestGroupOverASocket(t *testing.T) {
	w, g := withGroups(t)
	p := w.connect(w.grant("ingester"))
	p.Write(text(`{"type":"subscribe","group":"ingest","maxInFlight":5,"requestId":"s"}`))
	p.Want(anAck("s"))
	g.give <- []group.Message{waits("lost", "1"), waits("m2", "2"), waits("m3", "3")}
	p.Want(groupMessage("lost", "1"), groupMessage("m2", "2"), groupMessage("m3", "3"))

	p.Write(text(`{"type":"group_ack","ackIds":["m2"],"nack":[{"ackId":"m3","delayMs":1500}],"requestId":"a"}`))
	p.Want(anAck("a"))
	if got := <-g.acked; got != "ingest[m2] [{m3 1.5s false}]" {
		t.Errorf("told %q", got)
	}
	p.Write(text(`{"type":"group_ack","ackIds":["lost","m9"],"requestId":"b"}`))
	p.Want(aText(`{"type":"ack","requestId":"b","leaseLost":["lost","m9"]}`))
	<-g.acked
	p.Write(text(`{"type":"group_ack","ackIds":["m2"]}`)) // success or not, without requestId it is silent
	p.Want(alive)

	g.give <- []group.Message{waits("m4", "4")}
	p.Want(groupMessage("m4", "4"))
	g.fail(errors.New("away"))
	p.Write(text(`{"type":"group_ack","ackIds":["m4"]}`))
	p.Want(anError(protocol.BackendError, ""))
	g.fail(nil)

	p.Write(text(`{"type":"unsubscribe","group":"ingest","requestId":"u"}`), text(`{"type":"unsubscribe","group":"ingest","requestId":"v"}`))
	frames := []string{p.readText(), p.readText()}
	slices.Sort(frames)
	if want := []string{`{"type":"ack","requestId":"u"}`, `{"type":"ack","requestId":"v"}`}; !slices.Equal(frames, want) {
		t.Errorf("got %q, want %q", frames, want)
	}
	_ = p.Conn.Close()
	p.wait()
	if got := <-g.acked; got != "ingest[] [{m4 0s false}]" {
		t.Errorf("told %q when the connection ended, want that m4 is given back", got)
	}
}

// A peer that never subscribed to a group has lost whatever it names, and may unsubscribe.
func TestGroupAckOfNothing(t *testing.T) {
	w, _ := withGroups(t)
	p := w.connect(w.grant("ingester"))
	p.Write(text(`{"type":"group_ack","ackIds":["x"],"nack":[{"ackId":"y"}],"requestId":"a"}`), text(`{"type":"unsubscribe","group":"ingest","requestId":"u"}`))
	p.Want(aText(`{"type":"ack","requestId":"a","leaseLost":["x","y"]}`), anAck("u"))
}

func TestGroupSubscribeIsRefused(t *testing.T) {
	w, _ := withGroups(t)
	narrow := w.grant("ingester")
	narrow.Patterns = []*channel.Pattern{pattern(t, "devices/*/events")}
	publisher := w.grant("ingester")
	publisher.Actions = apps.ActionsOf(apps.ActionPublish)
	for _, tt := range []struct {
		name  string
		peer  *peer
		group string
		code  protocol.Code
		says  string
	}{
		{"no such group", w.connect(w.grant("ingester")), "other", protocol.GroupNotFound, `there is no group "other" in the app's configuration`},
		{"a pattern is not the key's", w.connect(w.grant("ingester")), "all", protocol.ChannelNotAuthorized, `group "all" has the pattern "**"; the credential must have subscribe on it`},
		{"a pattern is not the token's", w.connect(narrow), "ingest", protocol.ChannelNotAuthorized, `group "ingest" has the pattern "devices/*/alarms"`},
		{"a sink", w.connect(w.grant("ingester")), "crm", protocol.MalformedMessage, `group "crm" has a sink, which takes all its messages; to subscribe to them too, add a group without a sink that has the same patterns`},
		{"no subscribe", w.connect(publisher), "ingest", protocol.ChannelNotAuthorized, `group "ingest" has the pattern "devices/*/events"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.peer.Write(text(`{"type":"subscribe","group":"` + tt.group + `","requestId":"s"}`))
			got := strings.ReplaceAll(tt.peer.readText(), `\"`, `"`)
			if !strings.Contains(got, `"code":"`+string(tt.code)+`"`) || !strings.Contains(got, tt.says) {
				t.Errorf("got %s, want %s with %q", got, tt.code, tt.says)
			}
		})
	}
}

// A refresh whose token does not cover the group any more, and a document that does not, end
// the subscription.
func TestGroupSubscriptionEndsWithItsGrant(t *testing.T) {
	subscribe := text(`{"type":"subscribe","group":"ingest","requestId":"s"}`)
	gone := `{"type":"error","code":"%s","message":"unsubscribed from the group: %s","group":"ingest"}`
	notCovered := fmt.Sprintf(gone, "channel_not_authorized", `group \"ingest\" has the pattern \"devices/*/events\"; the credential must have subscribe on it`)
	t.Run("refresh", func(t *testing.T) {
		w, _ := withGroups(t)
		p := w.connect(w.grant("ingester"))
		p.Write(subscribe)
		p.Want(anAck("s"))
		p.Write(refresh(w.token("sk_test", "ingester", "devices/**")))
		p.Want(aText(`{"type":"ack","requestId":"f","expiresAt":` + fmt.Sprint(w.clock.in(time.Hour).Unix()) + `,"unsubscribed":[]}`))
		p.Write(refresh(w.token("sk_test", "ingester", "fleets/*")))
		p.Want(aText(`{"type":"ack","requestId":"f","expiresAt":`+fmt.Sprint(w.clock.in(time.Hour).Unix())+`,"unsubscribed":[]}`), aText(notCovered))
		p.Write(text(`{"type":"unsubscribe","group":"ingest","requestId":"u"}`))
		p.Want(anAck("u"))
	})
	for _, tt := range []struct {
		name   string
		change []string
		want   string
	}{
		{"the key does not cover it", []string{`"devices/**","fleets/*"`, `"devices/b/*"`}, notCovered},
		{"the group is gone", nil, fmt.Sprintf(gone, "group_not_found", `there is no group \"ingest\" in the app's configuration`)},
		{"it has another pattern", []string{`"devices/*/events"`, `"**"`}, fmt.Sprintf(gone, "channel_not_authorized", `group \"ingest\" has the pattern \"**\"; the credential must have subscribe on it`)},
		{"it has a sink", []string{`"name":"ingest",`, `"name":"ingest","sink":{"type":"sqs","queueUrl":"https://sqs.example.com/1/q"},`}, fmt.Sprintf(gone, "malformed_message", `group \"ingest\" has a sink, which takes all its messages; to subscribe to them too, add a group without a sink that has the same patterns`)},
		{"its patterns are others that are covered", []string{`"devices/*/events"`, `"devices/**"`}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, _ := withGroups(t)
			p := w.connect(w.grant("ingester"))
			p.Write(subscribe)
			p.Want(anAck("s"))
			change := []string{",\n \"keys\":[{\"id\":\"sk_test\"", groupsInDocument}
			if tt.change == nil {
				change = nil
			} else if strings.Contains(groupsInDocument, tt.change[0]) {
				change[1] = strings.Replace(groupsInDocument, tt.change[0], tt.change[1], 1)
			} else {
				change = append(change, tt.change...)
			}
			w.replace(change...)
			if p.session.Reauthorize() {
				t.Fatal("closed")
			}
			if tt.want != "" {
				p.Want(aText(tt.want))
			}
			p.Want(alive)
		})
	}
}
