package goclient_test

import (
	"errors"
	"fmt"
	"testing"

	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// A subscription gets all that was published while its node was away, once and in order.
func TestRecoversFromTheService(t *testing.T) {
	s := newService(t, "")
	ctx := background(t)
	backend := s.rest()
	const log = "fleets/f1/log"
	publish := func(from, to int) (messages []client.Outgoing) {
		for n := from; n < to; n++ {
			messages = append(messages, client.Outgoing{Channel: log, Data: n})
		}
		results, err := backend.PublishMany(ctx, messages)
		for i, r := range results {
			if r.Err != nil || r.Position.Offset != uint64(from+i) {
				t.Fatalf("message %d: %+v", from+i, r)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return messages
	}
	publish(1, 11)
	reader := s.as(t, "reader")
	got := reader.listen(log, client.Last(3))
	want := func(from, to int, replayed bool) (last client.Position) {
		t.Helper()
		for n := from; n < to; n++ {
			m := next(t, got)
			if string(m.Data) != fmt.Sprint(n) || m.Position.Offset != uint64(n) || m.Position.Epoch == "" || m.Replayed != replayed {
				t.Fatalf("%s at %+v, replayed %v; want %d, %v", m.Data, m.Position, m.Replayed, n, replayed)
			}
			last = m.Position
		}
		return last
	}
	want(8, 11, true)
	publish(11, 13)
	stored := want(11, 13, false)
	if _, err := backend.Disconnect(ctx, "reader", false); err != nil {
		t.Fatal(err)
	}
	publish(13, 40)
	// A program that was started anew begins where the former had stopped.
	got = s.as(t, "reader").listen(log, client.Since(stored))
	want(13, 40, true)

	h, err := backend.HistorySince(ctx, log, stored)
	if err != nil || !h.Recovered || len(h.Messages) != 27 || h.Position.Offset != 39 {
		t.Errorf("%d messages up to %+v, recovered %v, %v", len(h.Messages), h.Position, h.Recovered, err)
	}
	if err := backend.Forget(ctx, log); err != nil {
		t.Fatal(err)
	}
	if h, err = backend.HistorySince(ctx, log, stored); err != nil || h.Recovered || len(h.Messages) != 0 || h.Position.Offset != 39 {
		t.Errorf("afterwards %+v, %v", h, err)
	}
}

// A backend and a device write versions of one document, on condition that nobody else did.
func TestConditionsOfTheService(t *testing.T) {
	s := newService(t, "")
	ctx := background(t)
	backend := s.rest()
	const desired = "devices/a/desired"
	h, err := backend.History(ctx, desired, 1)
	if err != nil || h.Position.Offset != 0 {
		t.Fatalf("%+v, %v", h, err)
	}
	first, err := backend.PublishMessage(ctx, client.Outgoing{Channel: desired, Data: "v1", If: &h.Position})
	if err != nil || first.Position.Offset != 1 || first.Position.Epoch != h.Position.Epoch {
		t.Fatalf("%+v, %v", first, err)
	}
	_, err = backend.PublishMessage(ctx, client.Outgoing{Channel: desired, Data: "v1", If: &h.Position})
	refused, _ := errors.AsType[*client.Error](err)
	if refused == nil || refused.Code != protocol.OffsetMismatch || refused.Newest == nil || string(refused.Newest.Data) != `"v1"` || *refused.Position != first.Position {
		t.Fatalf("%+v", err)
	}
	device := s.as(t, "device")
	second, err := device.PublishMessage(ctx, client.Outgoing{Channel: desired, Data: "v2", If: refused.Position, IdempotencyKey: "v2"})
	if err != nil || second.Position.Offset != 2 {
		t.Fatalf("%+v, %v", second, err)
	}
	again, err := device.PublishMessage(ctx, client.Outgoing{Channel: desired, Data: "v2", If: refused.Position, IdempotencyKey: "v2"})
	if err != nil || again != second {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	if _, err := device.PublishMessage(ctx, client.Outgoing{Channel: desired, Data: "v3", If: &first.Position}); client.CodeOf(err) != protocol.OffsetMismatch {
		t.Errorf("an old version: %v", err)
	} else if refused, _ := errors.AsType[*client.Error](err); refused.Position == nil || *refused.Position != second.Position {
		t.Errorf("%+v", refused)
	}
}
