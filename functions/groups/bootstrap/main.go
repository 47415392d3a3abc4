// Bootstrap is the AWS Lambda function for /v1/groups/{group}.
package main

import (
	"net/http"

	"fleetwire/functions/groups"
	"fleetwire/functions/internal/lambda"
	"fleetwire/pkg/sink"
)

func main() {
	lambda.ServeWaiting(func(s lambda.Services) http.Handler {
		return groups.New(s.API, groups.Config{Groups: s.Groups(), Sinks: sink.NewStates(s.Redis, s.Keys), MaxWait: lambda.MaxWait})
	})
}
