package publish

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/publish"
)

// manyFields are those of a message that names its channel.
var manyFields = slices.Concat([]string{"channel"}, fields)

// many serves POST /v1/publish. A body is {"messages":[…]}. Each message is published or
// refused for itself, and the answer has a result for each, in order: what the message alone
// would be answered with. All messages share round trips to Redis.
func (h *handler) many(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	body, err := api.ReadObject(w, r, protocol.MaxPublishBodyBytes, "messages")
	if err != nil {
		return err
	}
	items, err := body.Items("messages", "messages", protocol.MaxPublishMessages)
	if err != nil {
		return err
	}
	waiting := newResults(len(items))
	messages := make([]publish.Message, len(items))
	for i, item := range items {
		m, err := readItem(item, key)
		if err != nil {
			refused, ok := errors.AsType[*protocol.Error](err)
			if !ok {
				return err // a fault of ours
			}
			waiting.come <- numbered{i, publish.Result{Err: refused}}
		}
		messages[i], waiting.channels[i] = m, m.Channel
	}
	// All at once, so that they share round trips.
	for i, m := range messages {
		if m.Grant == nil {
			continue // it was refused
		}
		if refused := h.publisher.Submit(m, &place{waiting, i}); refused != nil {
			waiting.come <- numbered{i, publish.Result{Err: refused}}
		}
	}
	api.Write(w, http.StatusOK, waiting.append(r.Context(), nil))
	return nil
}

// readItem reads one of many messages. The door checks its channel later. With an error, the
// message is empty.
func readItem(item []byte, key *apps.Key) (m publish.Message, err error) {
	if len(item) > protocol.MaxBodyBytes {
		return m, protocol.Errorf(protocol.InvalidRequest, "the message is %d bytes long; at most %d are allowed", len(item), protocol.MaxBodyBytes)
	}
	o, err := api.ReadItem(item, "the message", manyFields...)
	if err != nil {
		return m, err
	}
	if m, err = readMessage(o, key); err != nil {
		return publish.Message{}, err
	}
	name, given, err := o.String("channel", protocol.InvalidChannel)
	if err == nil && !given {
		err = protocol.Errorf(protocol.InvalidChannel, "channel is missing; it must be the name of a channel")
	}
	if err != nil {
		return publish.Message{}, err
	}
	m.Channel = name
	return m, nil
}

// results collects what becomes of the messages of one request.
type results struct {
	channels []string
	come     chan numbered // has room for all
}

type numbered struct {
	of     int
	result publish.Result
}

// place is where one message's result belongs.
type place struct {
	in *results
	of int
}

func newResults(n int) *results {
	return &results{channels: make([]string, n), come: make(chan numbered, n)}
}

// Published is publish.Completion's.
func (p *place) Published(r publish.Result) { p.in.come <- numbered{p.of, r} }

// Flush is publish.Completion's.
func (p *place) Flush() {}

// append appends the answer once all results have come, or ctx has ended.
func (rs *results) append(ctx context.Context, b []byte) []byte {
	all := make([]publish.Result, len(rs.channels))
	for i := range all {
		all[i].Err = protocol.Unknownf("the request ended before Redis answered; whether the message was published is not known; it may have been delivered")
	}
collect:
	for range all {
		select {
		case n := <-rs.come:
			all[n.of] = n.result
		case <-ctx.Done():
			break collect
		}
	}
	b = append(b, `{"results":[`...)
	for i := range all {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendResult(b, rs.channels[i], &all[i])
	}
	return append(b, "]}"...)
}

func appendResult(b []byte, channel string, r *publish.Result) []byte {
	if r.Err != nil {
		b = protocol.AppendErrorBody(b, r.Err)
		if r.Err.Code == protocol.OffsetMismatch { // without the message, which could be 100 times 32 KiB
			b = append(api.AppendPosition(b[:len(b)-1], *r.Position), '}')
		}
		return b
	}
	return appendPublished(b, channel, r)
}
