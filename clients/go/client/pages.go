package client

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
)

// Time is a time that the service's JSON has as unix milliseconds. null is the zero Time.
type Time struct{ time.Time }

// UnmarshalJSON reads unix milliseconds, or null.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = Time{}
		return nil
	}
	ms, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return fmt.Errorf("%.40q is not a time in unix milliseconds", b)
	}
	t.Time = time.UnixMilli(ms)
	return nil
}

// MarshalJSON writes unix milliseconds, or null.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return strconv.AppendInt(nil, t.UnixMilli(), 10), nil
}

// Members returns who is subscribed to a channel by name, ordered by peer id. It
// reads page after page: a peer that comes or goes meanwhile may be there or not.
func (r *REST) Members(ctx context.Context, channelName string) ([]Member, error) {
	if err := channel.ValidateName(channelName); err != nil {
		return nil, fmt.Errorf("client: members: %w", &Error{Code: protocol.InvalidChannel, Message: err.Error()})
	}
	members := []Member{}
	for m, err := range entries[struct {
		PeerID   string
		Metadata json.RawMessage
	}](ctx, r, "/channels/"+url.PathEscape(channelName)+"/peers", "peers", nil) {
		if err != nil {
			return nil, fmt.Errorf("client: members of %q: %w", channelName, err)
		}
		members = append(members, Member{m.PeerID, m.Metadata})
	}
	return members, nil
}

// Answers returns what the peers have said of a command, ordered by peer id. status is
// one of the states of a peer, such as failed, or "" for all. It reads page after page,
// and ends with an error, if one comes.
func (r *REST) Answers(ctx context.Context, id, status string) iter.Seq2[CommandAnswer, error] {
	return entries[CommandAnswer](ctx, r, "/commands/"+url.PathEscape(id)+"/answers", "answers", withStatus(status))
}

// Commands returns the commands of a channel, newest first. status is one of the states of
// a command, such as waiting, or "" for all. It reads as Answers does.
func (r *REST) Commands(ctx context.Context, channelName, status string) iter.Seq2[Command, error] {
	return entries[Command](ctx, r, "/channels/"+url.PathEscape(channelName)+"/commands", "commands", withStatus(status))
}

func withStatus(status string) url.Values {
	query := url.Values{}
	if status != "" {
		query.Set("status", status)
	}
	return query
}

// entries reads a list page after page, and ends with the first error.
func entries[T any](ctx context.Context, r *REST, path, list string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for cursor := ""; ; {
			page, next, err := readPage[T](ctx, r, path, list, query, cursor)
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, entry := range page {
				if !yield(entry, nil) {
					return
				}
			}
			if cursor = next; cursor == "" {
				return
			}
		}
	}
}

// readPage reads the page at a cursor. Without a next one, next is "".
func readPage[T any](ctx context.Context, r *REST, path, list string, query url.Values, cursor string) (page []T, next string, err error) {
	values := url.Values{}
	maps.Copy(values, query)
	if cursor != "" {
		values.Set("cursor", cursor)
	}
	if len(values) > 0 {
		path += "?" + values.Encode()
	}
	var answer map[string]json.RawMessage
	if err := r.do(ctx, http.MethodGet, path, nil, &answer); err != nil {
		return nil, "", fmt.Errorf("client: GET /v1%s: %w", path, err)
	}
	if json.Unmarshal(answer[list], &page) != nil || json.Unmarshal(answer["cursor"], &next) != nil {
		return nil, "", fmt.Errorf("client: GET /v1%s: %w", path, ErrNotService)
	}
	return page, next, nil
}
