// Bootstrap is the AWS Lambda function for what concerns peers: GET
// /v1/channels/{channel}/peers, GET /v1/peers, GET and DELETE /v1/peers/{peer}, GET
// /v1/peers/{peer}/commands and GET /v1/nodes.
package main

import (
	"context"
	"net/http"

	"fleetwire/functions/internal/lambda"
	"fleetwire/functions/peers"
	"fleetwire/pkg/orders"
	"fleetwire/pkg/presence"
	"fleetwire/pkg/registry"
	"fleetwire/pkg/revocation"
)

func main() {
	lambda.Serve(func(s lambda.Services) http.Handler {
		sender := orders.NewSender(s.Redis, s.Keys)
		return peers.New(s.API, peers.Config{
			Connections: sender, Shower: sender, Reporter: sender,
			Commands:    s.Commands(),
			Registry:    registry.NewReader(s.Redis, s.Keys),
			Revocations: revocation.NewList(s.Redis, s.Keys),
			Members: func(ctx context.Context, app, channel, after string, limit int) (presence.Page, error) {
				return presence.List(ctx, s.Redis, s.Keys, app, channel, after, limit)
			},
		})
	})
}
