// Bootstrap is the AWS Lambda function for GET /v1/usage and what lies below it.
package main

import (
	"net/http"

	"fleetwire/functions/internal/lambda"
	"fleetwire/functions/usage"
	figures "fleetwire/pkg/usage"
)

func main() {
	lambda.Serve(func(s lambda.Services) http.Handler {
		return usage.New(s.API, figures.NewReader(s.Redis, s.Keys, nil))
	})
}
