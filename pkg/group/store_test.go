package group_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/group"
	"fleetwire/pkg/redisconn/redistest"
)

const ingest = `{"name":"ingest","patterns":["a/**"],"ackTimeoutSec":3600,"maxDeliver":3,"maxBytes":1048576}`

func TestDelivers(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, ingest, "")
		p.mustPublish("b/1", `"not for the group"`)
		p.wantPull("one", 10, "")
		for i := range 3 {
			p.mustPublish("a/1", fmt.Sprint(i))
		}
		first := p.wantPull("one", 2, "a/1=0 a/1=1")
		m := first[0]
		if at := time.UnixMilli(m.PublishedAt); m.From != "device" || string(m.FromMetadata) != `{"v":1}` || m.Attempt != 1 || time.Since(at).Abs() > time.Minute {
			t.Errorf("got %+v", m)
		}
		p.wantState("lag 1 pending 2 dead 0 bytes 384 aged 0 overflow 0")
		if got := p.state(); len(got.Consumers) != 1 || got.Consumers[0] != (group.Consumer{Name: "one", Pending: 2}) || got.OldestAgeMs < 0 || got.OldestAgeMs > 60000 {
			t.Errorf("state %+v", got)
		}
		// The bucket is served to one consumer, until it has acknowledged everything.
		p.wantPull("two", 10, "")
		p.ack(first, true)
		p.ack(first, false)
		second := p.wantPull("two", 10, "a/1=2")
		p.wantPull("one", 10, "")
		p.nack(0, second...)
		again := p.wantPull("one", 10, "a/1=2*2")
		p.ack(second, false) // it was delivered again
		p.ack(again, true)
		p.wantState("lag 0 pending 0 dead 0 bytes 0 aged 0 overflow 0")
		if n := p.counted(); len(n) != 0 {
			t.Errorf("the group counts %v", n)
		}
		if p.used() != 4 {
			t.Errorf("the quota counts %d messages", p.used())
		}
	})
}

// A message that is given back comes again at once, to any consumer, before newer ones. That delivery
// does not count, however often.
func TestGivenBack(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, ingest, "")
		for i := range 3 {
			p.mustPublish("a/1", fmt.Sprint(i))
		}
		giveBack := func(want bool, messages ...group.Message) {
			t.Helper()
			var nacks []group.Nack
			for _, id := range ids(messages) {
				nacks = append(nacks, group.Nack{AckID: id, Uncounted: true})
			}
			held, err := p.store.Ack(ctx, p.app, p.group, nil, nacks)
			if err != nil {
				t.Fatal(err)
			}
			for _, got := range held {
				if got != want {
					t.Errorf("held %v, want %v", held, want)
				}
			}
		}
		var id string
		for i := range 5 { // more than maxDeliver
			got := p.wantPull(fmt.Sprint(i), 2, "a/1=0 a/1=1")
			if id == "" {
				id = got[0].ID("app", "ingest")
			}
			if got[0].ID("app", "ingest") != id || got[1].ID("app", "ingest") == id || got[0].ID("app", "other") == id || got[0].ID("other", "ingest") == id {
				t.Errorf("%q became %q; the next is %q", id, got[0].ID("app", "ingest"), got[1].ID("app", "ingest"))
			}
			giveBack(true, got...)
			giveBack(false, got...)
			p.wantState("lag 3 pending 0 dead 0 bytes 384 aged 0 overflow 0")
		}
		p.nack(0, p.wantPull("one", 1, "a/1=0")...)
		again := p.wantPull("one", 3, "a/1=0*2 a/1=1 a/1=2")
		if again[0].ID("app", "ingest") != id {
			t.Errorf("%q became %q", id, again[0].ID("app", "ingest"))
		}
		giveBack(true, again[0])
		p.ack(again[1:], true)
		last := p.wantPull("two", 3, "a/1=0*2")
		p.nack(0, last...)
		last = p.wantPull("two", 3, "a/1=0*3")
		giveBack(true, last...)
		p.nack(0, p.wantPull("one", 3, "a/1=0*3")...)
		p.wantState("lag 0 pending 0 dead 1 bytes 128 aged 0 overflow 0")
	})
}

// A message that is refused too often becomes a dead letter, and comes again when it is redriven.
func TestDeadLetters(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, ingest, "")
		var channels []string
		for i := range 7 {
			channels = append(channels, fmt.Sprint("a/", i))
			p.mustPublish(channels[i], fmt.Sprint(i))
		}
		at := map[string]int64{}
		for range 3 {
			got := p.pull("one", 100)
			if len(got) != 7 {
				t.Fatalf("got %s", shown(got))
			}
			for _, m := range got {
				at[m.Channel] = m.PublishedAt
				p.nack(0, m)
			}
		}
		p.wantPull("one", 100, "")
		bytes := p.state().Bytes
		if got := p.state(); got.Dead != 7 || got.Lag != 0 || bytes == 0 {
			t.Errorf("state %+v", got)
		}
		var letters []group.DeadLetter
		for next := ""; ; {
			page, after, err := p.store.Dead(ctx, p.app, p.group, next, 3)
			if err != nil {
				t.Fatal(err)
			}
			letters = append(letters, page...)
			if next = after; next == "" {
				break
			}
			if len(page) != 3 {
				t.Errorf("a page of %d", len(page))
			}
		}
		seen := map[string]bool{}
		for i, l := range letters {
			seen[l.Channel] = true
			if l.Attempts != 3 || l.Reason != group.ReasonNack || l.PublishedAt != at[l.Channel] || l.BuriedAt < l.PublishedAt ||
				"a/"+string(l.Data) != l.Channel || l.From != "device" || i > 0 && l.BuriedAt < letters[i-1].BuriedAt {
				t.Errorf("%+v", l)
			}
		}
		if len(letters) != 7 || len(seen) != 7 {
			t.Fatalf("%d dead letters of %d channels", len(letters), len(seen))
		}
		if n, err := p.store.DeleteDead(ctx, p.app, p.group, []string{letters[0].ID, letters[1].ID, letters[0].ID}); n != 2 || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
		if n, err := p.store.DeleteDead(ctx, p.app, p.group, []string{letters[0].ID}); n != 0 || err != nil {
			t.Errorf("deleted %d again, %v", n, err)
		}
		if n, err := p.store.Redrive(ctx, p.app, p.group, []string{letters[2].ID, letters[2].ID}); n != 1 || err != nil {
			t.Errorf("redriven %d, %v", n, err)
		}
		if got := p.pull("two", 100); len(got) != 1 || got[0].Attempt != 1 || got[0].Channel != letters[2].Channel || got[0].PublishedAt != letters[2].PublishedAt {
			t.Errorf("got %+v", got)
		}
		if n, err := p.store.Redrive(ctx, p.app, p.group, nil); n != 4 || err != nil {
			t.Errorf("redriven %d, %v", n, err)
		}
		got := p.pull("two", 100)
		if len(got) != 4 || p.state().Dead != 0 {
			t.Errorf("got %s of %+v", shown(got), p.state())
		}
		p.nack(0, got...)
		got = p.pull("two", 100)
		p.nack(0, got...)
		got = p.pull("two", 100)
		p.nack(0, got...)
		if n, err := p.store.DeleteDead(ctx, p.app, p.group, nil); n != 4 || err != nil {
			t.Errorf("deleted %d, %v", n, err)
		}
		if got := p.state(); got.Dead != 0 || got.Pending != 1 || got.Bytes != bytes/7 {
			t.Errorf("state %+v", got)
		}
	})
}

// A group that is full refuses, and nothing is published or counted.
func TestFull(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, ingest+`,{"name":"all","patterns":["**"],"maxBytes":1099511627776},{"name":"newest","patterns":["**"],"overflow":"drop_oldest"}`, `"history":[{"pattern":"a/h","size":1,"ttlSec":60}],`)
		heard := rdb.Subscribe(ctx, "none")
		t.Cleanup(func() { _ = heard.Close() })
		big := `"` + strings.Repeat("x", 30000) + `"`
		n := 0
		for ; p.publish(fmt.Sprint("a/", n), big) == ""; n++ {
		}
		if want := 1048576 / 30208; n < want-1 || n > want+1 {
			t.Errorf("%d messages, want about %d", n, want)
		}
		for _, channel := range []string{"a/1", "a/h"} {
			for _, key := range []string{"", "k"} {
				m := p.message(channel, big)
				m.IdempotencyKey = key
				if r := p.door.Publish(ctx, m); code(r) != protocol.GroupFull || r.Err.Message != "one of the groups ingest, all has no room for the message; nothing was published" {
					t.Errorf("%s %q: %v", channel, key, r.Err)
				}
			}
		}
		if p.used() != n {
			t.Errorf("counted %d of %d", p.used(), n)
		}
		// The other group got nothing of what was refused.
		if got := p.state(); got.Lag != int64(n) {
			t.Errorf("state %+v", got)
		}
		bytes := p.counted()["all"]
		p.group = p.app.Groups[1]
		if got := p.state(); got.Lag != int64(n) || p.counted()["all"] != bytes {
			t.Errorf("state %+v", got)
		}
		p.group = p.app.Groups[0]
		// A channel that neither group limits goes on, and the group recovers.
		p.mustPublish("b", big)
		got := p.pull("one", 2)
		p.ack(got, true)
		p.mustPublish("a/h", big)
		if p.publish("a/1", `1`) != "" { // it still has some room for small ones
			t.Error("a small message is refused")
		}
	})
}

func TestIdempotencyInAFullGroup(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, ingest, "")
		m := p.message("a/1", `"`+strings.Repeat("x", 30000)+`"`)
		m.IdempotencyKey = "k"
		if r := p.door.Publish(ctx, m); r.Err != nil {
			t.Fatal(r.Err)
		}
		for p.publish("a/2", string(m.Data)) == "" {
		}
		before, used := p.counted(), p.used()
		if r := p.door.Publish(ctx, m); r.Err != nil {
			t.Errorf("a repetition: %v", r.Err)
		}
		if after := p.counted(); fmt.Sprint(after) != fmt.Sprint(before) || p.used() != used {
			t.Errorf("counts %v and %d, then %v and %d", before, used, after, p.used())
		}
	})
}

// The count loses the bytes of a message that is admitted and not published.
func TestCountIsExact(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, ingest, `"history":[{"pattern":"a/h","size":1,"ttlSec":60}],`)
		p.mustPublish("a/h", "1")
		before := fmt.Sprint(p.counted())
		m := p.message("a/h", "2")
		m.IfOffset = new(uint64)
		if r := p.door.Publish(ctx, m); code(r) != protocol.OffsetMismatch {
			t.Errorf("%v", r.Err)
		}
		m = p.message("a/h", "1")
		m.IdempotencyKey = "k"
		for range 2 {
			if r := p.door.Publish(ctx, m); r.Err != nil {
				t.Error(r.Err)
			}
		}
		m.Data = []byte("3")
		if r := p.door.Publish(ctx, m); code(r) != protocol.IdempotencyConflict {
			t.Errorf("%v", r.Err)
		}
		p.wantPull("one", 10, "a/h=1 a/h=1")
		p.ack(p.pull("one", 10), true)
		if s := p.state(); s.Pending != 2 || fmt.Sprintf("map[%s:%d all:%d]", keys.Bucket("app", "a/h").Tag(), s.Bytes, s.Bytes) != fmt.Sprint(p.counted()) {
			t.Errorf("%+v, counted %v, and %s before", s, p.counted(), before)
		}
		// Over the cap of the app nothing is counted for the group.
		p.rdb.Set(ctx, keys.MessageCount("app", time.Now().UTC().Format("2006-01")), 1000000, 0)
		now := fmt.Sprint(p.counted())
		if p.publish("a/h", "1") != protocol.OverMessageQuota || p.publish("a/1", "1") != protocol.OverMessageQuota || fmt.Sprint(p.counted()) != now {
			t.Errorf("counted %v, %s before", p.counted(), now)
		}
	})
}

func TestForeignIDs(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	p := newProcess(t, rdb, ingest, "")
	p.mustPublish("a/1", "1")
	good := p.pull("one", 1)[0].AckID
	for _, id := range []string{"", "x", good[:8], good + "AAAA", good[1:], strings.ToUpper(good), good + "=", "!" + good} {
		if _, err := p.store.Ack(ctx, p.app, p.group, []string{good, id}, nil); !errors.Is(err, group.ErrAckID) {
			t.Errorf("ack of %q: %v", id, err)
		}
		if _, err := p.store.Redrive(ctx, p.app, p.group, []string{id}); !errors.Is(err, group.ErrDeadID) && id != "" {
			t.Errorf("redrive of %q: %v", id, err)
		}
		if _, _, err := p.store.Dead(ctx, p.app, p.group, id, 1); !errors.Is(err, group.ErrDeadID) && id != "" {
			t.Errorf("dead letters behind %q: %v", id, err)
		}
	}
	// Nothing was done by calls with one wrong id.
	if held, err := p.store.Ack(ctx, p.app, p.group, []string{good}, nil); err != nil || !held[0] {
		t.Errorf("%v %v", held, err)
	}
}

// A message that waits for two groups has another ackId in each: that of one does nothing in the other.
func TestAckIDsOfAnotherGroup(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, ingest+`,{"name":"archive","patterns":["a/**"]}`, "")
		p.mustPublish("a/1", "1")
		ingested := p.pull("one", 10)
		p.group = p.app.Group("archive")
		archived := p.pull("one", 10)
		if len(ingested) != 1 || len(archived) != 1 || ingested[0].AckID == archived[0].AckID {
			t.Fatalf("the groups got %+v and %+v", ingested, archived)
		}
		p.ack(ingested, false)
		if held := p.nack(0, ingested...); held[0] {
			t.Error("the ackId of another group refused a message")
		}
		p.wantState("lag 0 pending 1 dead 0 bytes 128 aged 0 overflow 0")
		p.ack(archived, true)
		p.group = p.app.Group("ingest")
		p.ack(archived, false)
		p.ack(ingested, true)
	})
}
