// Bootstrap is the AWS Lambda function for what concerns peers: DELETE
// /v1/peers/{peer}.
package main

import (
	"net/http"

	"fleetwire/functions/internal/lambda"
	"fleetwire/functions/peers"
	"fleetwire/pkg/revocation"
)

func main() {
	lambda.Serve(func(s lambda.Services) http.Handler {
		return peers.NewDisconnect(s.API, s.Broker, revocation.NewList(s.Redis))
	})
}
