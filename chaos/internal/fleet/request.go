package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"fleetwire/pkg/client"
)

// call makes a request that the client library does not have. body may be nil.
func call(ctx context.Context, rest *client.REST, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*answerIn)
	defer cancel()
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, rest.BaseURL+path, sent)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+rest.SecretKey)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := rest.HTTPClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, text)
	}
	return json.Unmarshal(text, answer)
}

// used is how many messages an app has used of its plan.
func used(ctx context.Context, rest *client.REST) (int, error) {
	var usage struct{ MessagesUsed int }
	err := call(ctx, rest, http.MethodGet, "/v1/usage", nil, &usage)
	return usage.MessagesUsed, err
}
