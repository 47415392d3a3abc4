package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"testing"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/command"
)

// caller creates commands, and reads what became of them.
type caller struct {
	t     testing.TB
	store *command.Store
	key   *apps.Key
}

func (s *system) caller(t testing.TB, key *keyDoc) *caller {
	k, ok := s.apps.Current().Key(key.ID)
	if !ok {
		t.Fatalf("no key %s", key.ID)
	}
	rdb := s.redis.Client()
	return &caller{t, command.NewStore(command.Options{Redis: rdb, Apps: s.apps, Log: slog.New(slog.DiscardHandler)}), k}
}

func (c *caller) create(channel, data string, ttl time.Duration) string {
	c.t.Helper()
	id, _, err := c.store.Create(context.Background(), command.New{Key: c.key, Channel: channel, From: "server", Data: []byte(data), TTL: ttl, Timeout: 30 * time.Second})
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

func (c *caller) wants(id string, status command.Status) *command.Command {
	c.t.Helper()
	var got *command.Command
	eventually(c.t, fmt.Sprintf("%s is %s", id, status), patience, func() bool {
		var err error
		if got, err = c.store.Read(context.Background(), c.key.App.ID, id, ""); err != nil {
			c.t.Fatal(err)
		}
		return got.Status == status
	})
	return got
}

var inMs = regexp.MustCompile(`"expiresInMs":\d+`)

// expectCommand reads a command, whose time to live it blanks.
func (s *socket) expectCommand(channel, data, id string, attempt int, ttl bool) {
	s.t.Helper()
	expires := ""
	if ttl {
		expires = `"expiresInMs":_,`
	}
	want := fmt.Sprintf(`{"type":"message","channel":%s,"from":"server","data":%s,"command":{"id":%q,"attempt":%d,%s"timeoutMs":30000}}`, quoted(channel), data, id, attempt, expires)
	if got := inMs.ReplaceAllString(s.next(), `"expiresInMs":_`); got != want {
		s.t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestCommandIsAnswered(t *testing.T) {
	key := newKey("commands", "**")
	s := startTwoNodes(t, newApp("app_commands", key))
	c := s.caller(t, key)
	cam := s.first().connect(t, key.token("cam", nil)).subscribe("devices/cam/commands")
	watcher := s.last().connect(t, key.token("watcher", nil)).subscribe("devices/*/commands")
	id := c.create("devices/cam/commands", `{"cmd":"reboot"}`, 0)
	cam.expectCommand("devices/cam/commands", `{"cmd":"reboot"}`, id, 1, false)
	watcher.expect(`{"type":"message","channel":"devices/cam/commands","from":"server","data":{"cmd":"reboot"}}`)
	cam.send(`{"type":"answer","command":"` + id + `","status":"running","data":5,"requestId":"1"}`)
	cam.expect(`{"type":"ack","requestId":"1"}`)
	cam.send(`{"type":"answer","command":"` + id + `","data":{"uptime":3}}`)
	got := c.wants(id, command.Succeeded)
	if a := got.Answers[0]; a.Peer != "cam" || string(a.Data) != `{"uptime":3}` {
		t.Errorf("%+v", a)
	}
	cam.alive()
	watcher.alive()
	_ = json.Valid
}
