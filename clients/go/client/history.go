package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
)

// A History is what a channel remembers.
type History struct {
	Position  Position  // the newest; its Offset is 0 if nothing was ever published
	Recovered bool      // of HistorySince: Messages are all that came after the position
	Messages  []Message // the oldest first
}

// History reads the newest messages of a channel that remembers, n at most, 1 to 1000. It
// needs the action subscribe.
func (r *REST) History(ctx context.Context, channelName string, n int) (History, error) {
	if n < 1 || n > protocol.MaxLast {
		return History{}, fmt.Errorf("client: the last %d messages of %q: it must be 1 to %d", n, channelName, protocol.MaxLast)
	}
	return r.history(ctx, channelName, url.Values{"last": {strconv.Itoa(n)}})
}

// HistorySince reads what came after a position, up to the newest message when it began.
// Without Recovered, messages are missing: what is still remembered is there.
func (r *REST) HistorySince(ctx context.Context, channelName string, since Position) (History, error) {
	return r.history(ctx, channelName, sinceQuery(since))
}

// history reads page after page.
func (r *REST) history(ctx context.Context, channelName string, query url.Values) (h History, err error) {
	if err := channel.ValidateName(channelName); err != nil {
		return h, fmt.Errorf("client: history: %w", &Error{Code: protocol.InvalidChannel, Message: err.Error()})
	}
	for first := true; ; first = false {
		page, err := r.historyPage(ctx, channelName, query)
		if err != nil {
			return History{}, fmt.Errorf("client: history of %q: %w", channelName, err)
		}
		if first {
			h.Recovered = page.Recovered
		}
		if first || page.Epoch != h.Position.Epoch {
			h.Position = Position{Epoch: page.Epoch, Offset: page.Offset}
		}
		h.Recovered = h.Recovered && page.Recovered
		for _, m := range page.Messages {
			h.Messages = append(h.Messages, m.message(channelName, page.Epoch))
		}
		if len(page.Messages) == 0 {
			return h, nil
		}
		last := h.Messages[len(h.Messages)-1].Position
		if last.Offset >= h.Position.Offset {
			h.Position = last
			return h, nil
		}
		query = sinceQuery(last)
	}
}

func (r *REST) historyPage(ctx context.Context, channelName string, query url.Values) (page historyPage, err error) {
	err = r.do(ctx, http.MethodGet, "/channels/"+url.PathEscape(channelName)+"/messages?"+query.Encode(), nil, &page)
	return page, err
}

// Forget has a channel forget its messages. Its offsets go on rising. It needs the action
// publish.
func (r *REST) Forget(ctx context.Context, channelName string) error {
	if err := channel.ValidateName(channelName); err != nil {
		return fmt.Errorf("client: forget: %w", &Error{Code: protocol.InvalidChannel, Message: err.Error()})
	}
	var answer struct{}
	if err := r.do(ctx, http.MethodDelete, "/channels/"+url.PathEscape(channelName)+"/messages", nil, &answer); err != nil {
		return fmt.Errorf("client: forget the messages of %q: %w", channelName, err)
	}
	return nil
}

type historyPage struct {
	Epoch     string
	Offset    uint64
	Recovered bool
	Messages  []keptMessage
}

// keptMessage is a message as REST shows what a channel remembers.
type keptMessage struct {
	Offset uint64
	At     Time
	From   string
	Data   json.RawMessage
}

func (m *keptMessage) message(channelName, epoch string) Message {
	return Message{Channel: channelName, From: m.From, Data: m.Data, At: m.At.Time, Replayed: true, Position: Position{Epoch: epoch, Offset: m.Offset}}
}

func sinceQuery(p Position) url.Values {
	return url.Values{"since": {p.Epoch + ":" + strconv.FormatUint(p.Offset, 10)}}
}
