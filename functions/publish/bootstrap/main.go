// Bootstrap is the AWS Lambda function for POST /v1/channels/{channel}/publish.
package main

import (
	"net/http"

	"fleetwire/functions/internal/lambda"
	"fleetwire/functions/publish"
)

func main() {
	lambda.Serve(func(s lambda.Services) http.Handler { return publish.New(s.API, s.Publisher) })
}
