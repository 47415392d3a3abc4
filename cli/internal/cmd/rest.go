package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"

	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// read makes a request, and reads the JSON object of the answer, which it returns, too.
func read(ctx context.Context, service *client.REST, method, path string, body, into any) (json.RawMessage, error) {
	raw, err := service.Do(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(raw, []byte("{")) || json.Unmarshal(raw, into) != nil {
		return nil, notService(method, path)
	}
	return raw, nil
}

func notService(method, path string) error {
	return fmt.Errorf("%s /v1%s: %w", method, path, client.ErrNotService)
}

// entries reads a list page after page, and ends with the first error. It has the JSON of each entry.
func entries(ctx context.Context, service *client.REST, path, list string, query url.Values) iter.Seq2[json.RawMessage, error] {
	return func(yield func(json.RawMessage, error) bool) {
		for cursor := ""; ; {
			query.Set("cursor", cursor)
			at := path + "?" + query.Encode()
			var page map[string]json.RawMessage
			if _, err := read(ctx, service, http.MethodGet, at, nil, &page); err != nil {
				yield(nil, err)
				return
			}
			var all []json.RawMessage
			if json.Unmarshal(page[list], &all) != nil || json.Unmarshal(page["cursor"], &cursor) != nil {
				yield(nil, notService(http.MethodGet, at))
				return
			}
			for _, entry := range all {
				if !yield(entry, nil) {
					return
				}
			}
			if bytes.Equal(page["cursor"], []byte("null")) {
				return
			}
		}
	}
}

// mayPass tells whether the same request may succeed later: the service starts again, is busy, or
// cannot be reached.
func mayPass(err error) bool {
	if refused, ok := errors.AsType[*client.Error](err); ok {
		return refused.Status >= http.StatusInternalServerError || refused.Code == protocol.RateLimited
	}
	_, ok := errors.AsType[*url.Error](err)
	return ok && !errors.Is(err, context.Canceled)
}

// retryAfter is for how long to wait before a request is made again.
func retryAfter(err error) time.Duration {
	if refused, ok := errors.AsType[*client.Error](err); ok {
		return max(pause, refused.RetryAfter)
	}
	return pause
}

// pause is the least time between a failed request and the next one.
const pause = time.Second

// sleep waits, unless the command is interrupted before.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
