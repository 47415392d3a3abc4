// Bootstrap is the AWS Lambda function for /v1/channels/{channel}/commands and
// /v1/commands/{id}.
package main

import (
	"net/http"

	"fleetwire/functions/commands"
	"fleetwire/functions/internal/lambda"
)

func main() {
	lambda.ServeWaiting(func(s lambda.Services) http.Handler {
		return commands.New(s.API, commands.Config{Commands: s.Commands(), MaxWait: lambda.MaxWait})
	})
}
