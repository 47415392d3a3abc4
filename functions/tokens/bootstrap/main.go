// Bootstrap is the AWS Lambda function for POST /v1/tokens.
package main

import (
	"net/http"

	"fleetwire/functions/internal/lambda"
	"fleetwire/functions/tokens"
)

func main() {
	lambda.Serve(func(s lambda.Services) http.Handler { return tokens.New(s.API) })
}
