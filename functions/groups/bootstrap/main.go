// Bootstrap is the AWS Lambda function for /v1/groups/{group}.
package main

import (
	"net/http"

	"fleetwire/functions/groups"
	"fleetwire/functions/internal/lambda"
)

func main() {
	lambda.ServeWaiting(func(s lambda.Services) http.Handler {
		return groups.New(s.API, groups.Config{Groups: s.Groups(), MaxWait: lambda.MaxWait})
	})
}
