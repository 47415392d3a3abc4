package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"fleetwire/clients/go/protocol"
)

// PullOptions says what Pull takes. A field that is zero is as the service has it.
type PullOptions struct {
	Max      int           // 1 to 500 events; 0: 100
	MaxBytes int           // 65536 to 524288, about, of channels, senders, metadata and data; 0: 262144
	Wait     time.Duration // how long Pull waits if no event is there; 0: not at all
	Consumer string        // the name of the process; each should have its own; "": the id of the key
}

// A Nack has an event delivered again, Delay later, 0 to 12 h.
type Nack struct {
	AckID string
	Delay time.Duration
}

// Pull takes events that wait for a group (protocol §10.1), the oldest first in each channel,
// or none if none came within Wait. They are delivered again, to any ingester, unless Ack
// acknowledges them within the group's ackTimeoutSec. It needs subscribe on every pattern of
// the group. A program that stays is better off with Client.Group.
//
// An HTTPClient of your own must give a request more than 10 s. If the answer is lost, the
// events of it are delivered again when that time is over.
func (r *REST) Pull(ctx context.Context, group string, opt PullOptions) ([]Event, error) {
	for until := time.Now().Add(opt.Wait); ; {
		left := max(0, time.Until(until))
		body := struct {
			Max      int    `json:"max,omitempty"`
			MaxBytes int    `json:"maxBytes,omitempty"`
			WaitMs   int64  `json:"waitMs"`
			Consumer string `json:"consumer,omitempty"`
		}{opt.Max, opt.MaxBytes, min(left, wait(ctx)).Milliseconds(), opt.Consumer}
		var answer struct {
			Messages []struct {
				AckID, Channel, From string
				FromMetadata, Data   json.RawMessage
				PublishedAt          Time
				Attempt              int
			}
		}
		if err := r.post(ctx, "/groups/"+url.PathEscape(group)+"/pull", protocol.MaxBodyBytes, body, &answer); err != nil {
			return nil, fmt.Errorf("client: pull from group %q: %w", group, err)
		}
		events := make([]Event, len(answer.Messages))
		for i, m := range answer.Messages {
			events[i] = Event{m.Channel, m.From, m.Data, m.FromMetadata, m.PublishedAt.Time, m.Attempt, m.AckID}
		}
		if len(events) > 0 || body.WaitMs == 0 {
			return events, nil
		}
	}
}

// Ack acknowledges events of a group by their AckID, and has those of nacks delivered again:
// 1 to 1000 together. lost are those that were acknowledged or given back before, or delivered
// again since they were pulled: another AckID counts by then.
//
// If the answer is lost, Ack asks again, up to 4 times; what the first request acknowledged is
// then among the lost.
func (r *REST) Ack(ctx context.Context, group string, ackIDs []string, nacks ...Nack) (lost []string, err error) {
	type nack struct {
		AckID   string `json:"ackId"`
		DelayMs int64  `json:"delayMs"`
	}
	body := struct {
		AckIDs []string `json:"ackIds,omitempty"`
		Nack   []nack   `json:"nack,omitempty"`
	}{AckIDs: ackIDs}
	for _, n := range nacks {
		body.Nack = append(body.Nack, nack{n.AckID, n.Delay.Milliseconds()})
	}
	var answer struct {
		Results []struct{ AckID, Result string }
	}
	err = untilAnswered(ctx, func() error {
		return r.post(ctx, "/groups/"+url.PathEscape(group)+"/ack", protocol.MaxAckBodyBytes, body, &answer)
	})
	if err != nil {
		return nil, fmt.Errorf("client: acknowledge events of group %q: %w", group, err)
	}
	for _, result := range answer.Results {
		if result.Result != "ok" {
			lost = append(lost, result.AckID)
		}
	}
	return lost, nil
}
