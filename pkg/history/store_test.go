package history_test

import (
	"context"
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/history"
	"fleetwire/pkg/redisconn/redistest"
)

const rules = `{"pattern":"one/*","size":1,"ttlSec":60},{"pattern":"three/*","size":3,"ttlSec":60}`

func TestRead(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, appOf(t, rules))
		for _, channel := range []string{"one/a", "three/a"} {
			r := p.last(channel, 10)
			p.want(r, "0:")
			begun := r.Position
			if begun.Epoch == "" {
				t.Fatal("no epoch")
			}
			p.want(p.since(channel, begun), "recovered 0:")
			for i, data := range []string{"a", "b", "c", "d"} {
				at := p.publish(channel, `"`+data+`"`)
				if want := (protocol.Position{Epoch: begun.Epoch, Offset: uint64(i + 1)}); at != want {
					t.Errorf("published at %v, want %v", at, want)
				}
			}
			at := func(offset uint64) protocol.Position { return protocol.Position{Epoch: begun.Epoch, Offset: offset} }
			p.want(p.since(channel, at(4)), "recovered 4:")
			p.want(p.since(channel, at(5)), map[string]string{"one/a": `4: 4="d"`, "three/a": `4: 2="b" 3="c" 4="d"`}[channel])
			p.want(p.since(channel, at(3)), `recovered 4: 4="d"`)
			p.want(p.since(channel, protocol.Position{Epoch: "other", Offset: 3}), map[string]string{"one/a": `4: 4="d"`, "three/a": `4: 2="b" 3="c" 4="d"`}[channel])
			p.want(p.since(channel, protocol.Position{}), map[string]string{"one/a": `4: 4="d"`, "three/a": `4: 2="b" 3="c" 4="d"`}[channel])
			p.want(p.since(channel, at(1)), map[string]string{"one/a": `4: 4="d"`, "three/a": `recovered 4: 2="b" 3="c" 4="d"`}[channel])
			p.want(p.since(channel, at(0)), map[string]string{"one/a": `4: 4="d"`, "three/a": `4: 2="b" 3="c" 4="d"`}[channel])
			p.want(p.last(channel, 1), `4: 4="d"`)
			p.want(p.last(channel, 2), map[string]string{"one/a": `4: 4="d"`, "three/a": `4: 3="c" 4="d"`}[channel])
			p.want(p.read(history.Read{Channel: channel}), "4:")

			p.forget(channel)
			p.want(p.last(channel, 9), "4:")
			p.want(p.since(channel, at(3)), "4:")
			p.want(p.since(channel, at(4)), "recovered 4:")
			p.publish(channel, `"e"`)
			p.want(p.since(channel, at(4)), `recovered 5: 5="e"`)
			p.want(p.since(channel, at(3)), `5: 5="e"`)
		}
	})
}

func TestReadPages(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, appOf(t, `{"pattern":"**","size":40,"ttlSec":60}`))
		for i := range 50 {
			p.publish("c", string(rune('0'+i%10)))
		}
		p.want(p.read(history.Read{Channel: "c", Last: 3, Limit: 2}), "50: 48=7 49=8 more")
		r := p.read(history.Read{Channel: "c", Last: 30, MaxBytes: 1})
		p.want(r, "50: 21=0 more")
		r = p.read(history.Read{Channel: "c", Since: &protocol.Position{Epoch: r.Position.Epoch, Offset: 21}, Limit: 3})
		p.want(r, "recovered 50: 22=1 23=2 24=3 more")
		if all := p.last("c", 1000); len(all.Messages) != 40 || all.Messages[0].Offset != 11 || all.More {
			t.Errorf("%d messages, the first %d", len(all.Messages), all.Messages[0].Offset)
		}
	})
}

func TestReadSeveral(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	p := newProcess(t, rdb, appOf(t, rules))
	p.publish("one/a", "1")
	reads := []*history.Read{
		{App: p.app, Channel: "one/a", Last: 1}, {App: p.app, Channel: "elsewhere", Last: 1}, {App: p.app, Channel: "three/a", Last: 1},
	}
	if err := p.store.Read(context.Background(), reads); !errors.Is(err, history.ErrForgetful) {
		t.Errorf("%v, want %v", err, history.ErrForgetful)
	}
	p.want(*reads[0], "1: 1=1")
	p.want(*reads[2], "0:")
	if reads[0].Err != nil || reads[2].Err != nil || !errors.Is(reads[1].Err, history.ErrForgetful) {
		t.Errorf("%v %v %v", reads[0].Err, reads[1].Err, reads[2].Err)
	}
	if err := p.store.Forget(context.Background(), p.app, "elsewhere"); !errors.Is(err, history.ErrForgetful) {
		t.Errorf("forget: %v", err)
	}
}

func TestIfOffset(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		p := newProcess(t, rdb, appOf(t, rules))
		for _, channel := range []string{"one/a", "three/a"} {
			put := func(offset uint64, epoch, data string) (protocol.Position, protocol.Code, string) {
				m := p.message(channel, data)
				m.IfOffset, m.IfEpoch = &offset, epoch
				r := p.door.Publish(context.Background(), m)
				current := ""
				if r.Current != nil {
					current = string(r.Current.Data)
				}
				if r.Position == nil {
					t.Fatalf("no position, %v", r.Err)
				}
				return *r.Position, code(r), current
			}
			first, c, _ := put(0, "", "1")
			if c != "" || first.Offset != 1 {
				t.Errorf("the first: %v %s", first, c)
			}
			if at, c, current := put(0, "", "2"); c != protocol.OffsetMismatch || at != first || current != "1" {
				t.Errorf("again with 0: %v %s %s", at, c, current)
			}
			if at, c, current := put(1, "other", "2"); c != protocol.OffsetMismatch || at != first || current != "1" {
				t.Errorf("with another epoch: %v %s %s", at, c, current)
			}
			if at, c, _ := put(1, first.Epoch, "2"); c != "" || at.Offset != 2 {
				t.Errorf("with both: %v %s", at, c)
			}
			p.forget(channel)
			if at, c, current := put(1, "", "3"); c != protocol.OffsetMismatch || at.Offset != 2 || current != "" {
				t.Errorf("after a DELETE: %v %s %s", at, c, current)
			}
			p.want(p.last(channel, 9), "2:")
		}
		if n := rdb.Get(context.Background(), keys.MessageCount("app", period())).Val(); n != "4" {
			t.Errorf("counted %s messages, want 4", n)
		}
	})
}
