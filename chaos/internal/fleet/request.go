package fleet

import (
	"context"
	"encoding/json"
	"net/http"

	"fleetwire/clients/go/client"
)

// call makes a request for which the client library has no method. path is what stands behind /v1;
// body may be nil.
func call(ctx context.Context, rest *client.REST, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*answerIn)
	defer cancel()
	text, err := rest.Do(ctx, method, path, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

// used is how many messages an app has used of its plan.
func used(ctx context.Context, rest *client.REST) (int, error) {
	var usage struct{ MessagesUsed int }
	err := call(ctx, rest, http.MethodGet, "/usage", nil, &usage)
	return usage.MessagesUsed, err
}
