package main

import (
	"context"
	"slices"
	"time"

	"fleetwire/clients/go/client"
)

// published is what a publish gives.
func published(p client.Published) object {
	answer := object{"subscribers": p.Subscribers}
	if p.Position.Epoch != "" {
		answer["position"] = position(p.Position)
	}
	return answer
}

// command is what became of a command.
func command(c client.Command) object {
	answers := []object{}
	for _, a := range c.Answers {
		answers = append(answers, object{"peer": a.Peer, "status": a.Status, "data": a.Data, "attempt": a.Attempt})
	}
	return object{"command": c.ID, "status": c.Status, "answers": answers}
}

var restActs = map[string]func(context.Context, *client.REST, *request) (object, error){
	"rest_token": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		token, expires, err := c.MintToken(ctx, client.TokenRequest{Peer: r.Peer, Channels: r.Channels, Permissions: r.Permission, TTL: time.Duration(r.TTLSec) * time.Second})
		return object{"token": token, "expiresAt": expires.Unix()}, err
	},
	"rest_publish": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		done, err := c.PublishMessage(ctx, client.Outgoing{Channel: r.Channel, Data: r.Data, From: r.From, IdempotencyKey: r.IdempotencyKey, If: r.If})
		return published(done), err
	},
	"rest_command": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		done, err := c.Command(ctx, r.Channel, r.Data, r.commandOptions())
		return command(done), err
	},
	"rest_start_command": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		begun, err := c.StartCommand(ctx, r.Channel, r.Data, r.commandOptions())
		return command(begun), err
	},
	"rest_read_command": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		read, err := c.ReadCommand(ctx, r.Command)
		return command(read), err
	},
	"rest_cancel_command": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		cancelled, err := c.CancelCommand(ctx, r.Command)
		return command(cancelled), err
	},
	"rest_history": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		read := func() (client.History, error) { return c.History(ctx, r.Channel, r.Last) }
		if r.Since != nil {
			read = func() (client.History, error) { return c.HistorySince(ctx, r.Channel, *r.Since) }
		}
		h, err := read()
		messages := []object{}
		for _, m := range h.Messages {
			messages = append(messages, message(m))
		}
		return object{"position": position(h.Position), "recovered": h.Recovered, "messages": messages}, err
	},
	"rest_pull": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		events, err := c.Pull(ctx, r.Group, client.PullOptions{Max: r.Max, Wait: time.Duration(r.WaitMs) * time.Millisecond})
		messages := []object{}
		for _, e := range events {
			messages = append(messages, object{"channel": e.Channel, "from": e.From, "data": e.Data, "attempt": e.Attempt, "ackId": e.AckID})
		}
		return object{"messages": messages}, err
	},
	"rest_ack": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		lost, err := c.Ack(ctx, r.Group, r.AckIDs)
		results := []object{}
		for _, id := range r.AckIDs {
			result := "ok"
			if slices.Contains(lost, id) {
				result = "lease_lost"
			}
			results = append(results, object{"ackId": id, "result": result})
		}
		return object{"results": results}, err
	},
	"rest_peers": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		peers := []object{}
		for p, err := range c.Peers(ctx, client.PeerQuery{Prefix: r.Prefix, Online: r.Online}) {
			if err != nil {
				return nil, err
			}
			peers = append(peers, object{"peer": p.ID, "online": p.Online})
		}
		return object{"peers": peers}, nil
	},
	"rest_members": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		all, err := c.Members(ctx, r.Channel)
		return object{"members": members(all)}, err
	},
	"rest_disconnect": func(ctx context.Context, c *client.REST, r *request) (object, error) {
		closed, err := c.Disconnect(ctx, r.Peer, r.Revoke)
		return object{"closed": closed}, err
	},
}

func (r *request) commandOptions() client.CommandOptions {
	return client.CommandOptions{
		From: r.From, TTL: time.Duration(r.TTLMs) * time.Millisecond, Timeout: time.Duration(r.TimeoutMs) * time.Millisecond,
		Expect: r.Expect, IdempotencyKey: r.IdempotencyKey,
	}
}
