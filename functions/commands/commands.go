// Package commands serves what a backend does with commands, messages that are answered
// (protocol §8): it creates, reads, lists and cancels them.
//
// All routes need a key that may publish to the channel of the command. For others, and
// for another app's keys, a command is not there: 404 command_not_found.
package commands

import (
	"context"
	"net/http"
	"time"

	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/command"
)

// The routes of the handlers.
var (
	CreateRoute  = api.Route{Method: http.MethodPost, Path: "/v1/channels/{channel}/commands", Function: "commands"}
	ListRoute    = api.Route{Method: http.MethodGet, Path: "/v1/channels/{channel}/commands", Function: "commands"}
	AnswersRoute = api.Route{Method: http.MethodGet, Path: "/v1/commands/{id}/answers", Function: "commands"}
	ReadRoute    = api.Route{Method: http.MethodGet, Path: "/v1/commands/{id}", Function: "commands"}
	CancelRoute  = api.Route{Method: http.MethodDelete, Path: "/v1/commands/{id}", Function: "commands"}
)

// Commands is what keeps them: [command.Service].
type Commands interface {
	Create(ctx context.Context, n command.New, wait time.Duration) (*command.Command, *command.Refusal)
	Channel(ctx context.Context, app, id string) (string, error)
	Wait(ctx context.Context, key *apps.Key, id string, wait time.Duration) (*command.Command, error)
	Cancel(ctx context.Context, app, id string) (*command.Command, error)
	List(ctx context.Context, app, channel string, status command.Status, after string, limit int) (command.Page, error)
	Answers(ctx context.Context, app, id string, status command.Status, after string, limit int) (command.AnswersPage, error)
}

// Config is what the handlers need.
type Config struct {
	Commands Commands // required
	// MaxWait is the longest that a request waits; it is not refused if it asks for more.
	// 0: command.MaxWait.
	MaxWait time.Duration
}

type handler struct {
	api.Config
	commands Commands
	maxWait  time.Duration
	over     api.OverRate
}

// Endpoints makes the endpoints of all routes.
func Endpoints(c api.Config, needs Config) []*api.Endpoint {
	if needs.Commands == nil {
		panic("commands.Endpoints: Config.Commands is required")
	}
	if needs.MaxWait == 0 {
		needs.MaxWait = command.MaxWait
	}
	h := &handler{Config: c, commands: needs.Commands, maxWait: needs.MaxWait}
	return []*api.Endpoint{
		api.NewTakingToken(c, CreateRoute, h.create), api.New(c, ListRoute, h.list), api.New(c, AnswersRoute, h.answers),
		api.New(c, ReadRoute, h.read), api.New(c, CancelRoute, h.cancel),
	}
}

// New makes the handler of all routes.
func New(c api.Config, needs Config) http.Handler {
	return api.NewRouter(c, nil, Endpoints(c, needs)...)
}

// wait cuts what a request asks for to what it gets.
func (h *handler) wait(ms int64) time.Duration {
	return min(time.Duration(ms)*time.Millisecond, h.maxWait)
}

// answer writes a command: 200 if it has ended or the request did not wait, else 202.
func answer(w http.ResponseWriter, c *command.Command, waited bool) {
	status := http.StatusOK
	if waited && !c.Ended() {
		status = http.StatusAccepted
		w.Header().Set("Location", "/v1/commands/"+c.ID)
	}
	api.Write(w, status, appendCommand(nil, c))
}
