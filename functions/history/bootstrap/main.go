// Bootstrap is the AWS Lambda function for /v1/channels/{channel}/messages.
package main

import (
	"net/http"

	"fleetwire/functions/history"
	"fleetwire/functions/internal/lambda"
	store "fleetwire/pkg/history"
)

func main() {
	lambda.Serve(func(s lambda.Services) http.Handler {
		return history.New(s.API, store.NewStore(s.Redis, s.Keys))
	})
}
