// Package groups serves messages that wait for groups of ingesters (protocol §10): POST
// /v1/groups/{group}/pull delivers some, POST …/ack acknowledges them, GET /v1/groups/{group}
// tells what waits, and …/dead and …/redrive are about those that were delivered too often. POST
// …/resume has a group's sink tried again.
//
// All routes need a key that may subscribe to every pattern of the group.
package groups

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/group"
	"fleetwire/pkg/sink"
)

// The routes of the handlers.
var (
	PullRoute    = api.Route{Method: http.MethodPost, Path: "/v1/groups/{group}/pull", Function: "groups"}
	AckRoute     = api.Route{Method: http.MethodPost, Path: "/v1/groups/{group}/ack", Function: "groups"}
	DeadRoute    = api.Route{Method: http.MethodGet, Path: "/v1/groups/{group}/dead", Function: "groups"}
	DeleteRoute  = api.Route{Method: http.MethodDelete, Path: "/v1/groups/{group}/dead", Function: "groups"}
	RedriveRoute = api.Route{Method: http.MethodPost, Path: "/v1/groups/{group}/redrive", Function: "groups"}
	ResumeRoute  = api.Route{Method: http.MethodPost, Path: "/v1/groups/{group}/resume", Function: "groups"}
	StateRoute   = api.Route{Method: http.MethodGet, Path: "/v1/groups/{group}", Function: "groups"}
)

// Bounds of requests.
const (
	MaxPull         = 500
	DefaultPull     = 100
	MinPullBytes    = group.MinPullBytes
	MaxPullBytes    = 512 << 10 // what a load balancer takes from a function is 1 MB
	DefaultBytes    = 256 << 10
	MaxWait         = 20 * time.Second
	MaxAcks         = protocol.MaxGroupAcks
	MaxAckBodyBytes = protocol.MaxAckBodyBytes
	MaxDelay        = protocol.MaxNackDelayMs * time.Millisecond
	MaxDead         = 100
	MaxRedrive      = 100
)

// Groups is what keeps the messages: [group.Service].
type Groups interface {
	Wait(ctx context.Context, p group.Pull, key string, most time.Duration) ([]group.Message, error)
	Ack(ctx context.Context, app *apps.App, g *apps.Group, ackIDs []string, nacks []group.Nack) ([]bool, error)
	State(ctx context.Context, app *apps.App, g *apps.Group) (group.State, error)
	Dead(ctx context.Context, app *apps.App, g *apps.Group, after string, limit int) ([]group.DeadLetter, string, error)
	Redrive(ctx context.Context, app *apps.App, g *apps.Group, ids []string) (int, error)
	DeleteDead(ctx context.Context, app *apps.App, g *apps.Group, ids []string) (int, error)
}

// Sinks is what keeps the states of groups' sinks: [sink.States].
type Sinks interface {
	Read(ctx context.Context, app *apps.App, g *apps.Group) (sink.State, error)
	Resume(ctx context.Context, app *apps.App, g *apps.Group) error
}

// Config is what the handlers need.
type Config struct {
	Groups Groups // required
	Sinks  Sinks  // required
	// MaxWait is the longest that a request waits; it is not refused if it asks for more.
	// 0: MaxWait.
	MaxWait time.Duration
}

type handler struct {
	groups  Groups
	sinks   Sinks
	maxWait time.Duration
}

// Endpoints makes the endpoints of all routes.
func Endpoints(c api.Config, needs Config) []*api.Endpoint {
	if needs.Groups == nil || needs.Sinks == nil {
		panic("groups.Endpoints: Config.Groups and Config.Sinks are required")
	}
	if needs.MaxWait == 0 {
		needs.MaxWait = MaxWait
	}
	h := &handler{needs.Groups, needs.Sinks, needs.MaxWait}
	return []*api.Endpoint{
		api.New(c, PullRoute, h.pull), api.New(c, AckRoute, h.ack), api.New(c, DeadRoute, h.dead),
		api.New(c, DeleteRoute, h.deleteDead), api.New(c, RedriveRoute, h.redrive), api.New(c, ResumeRoute, h.resume), api.New(c, StateRoute, h.state),
	}
}

// New makes the handler of all routes.
func New(c api.Config, needs Config) http.Handler {
	return api.NewRouter(c, nil, Endpoints(c, needs)...)
}

// groupOf is the group in the path, if the key may subscribe to all that waits for it.
func groupOf(r *http.Request, key *apps.Key) (*apps.Group, error) {
	name, err := url.PathUnescape(r.PathValue("group"))
	g := key.App.Group(name)
	if err != nil || g == nil {
		return nil, protocol.Errorf(protocol.GroupNotFound, "there is no group %s in the app's configuration", api.Quote(name))
	}
	if refused := auth.KeyGrant(key, "", nil).CheckGroup(g); refused != nil {
		return nil, refused
	}
	return g, nil
}

// pull serves POST /v1/groups/{group}/pull.
func (h *handler) pull(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	body, err := api.ReadObject(w, r, protocol.MaxBodyBytes, "max", "maxBytes", "waitMs", "consumer")
	if err != nil {
		return err
	}
	p, wait, err := readPull(body, key)
	if err != nil {
		return err
	}
	if p.Group, err = groupOf(r, key); err != nil {
		return err
	}
	if p.Group.Sink != nil {
		return protocol.Errorf(protocol.InvalidRequest, "group %s has a sink, which takes all its messages; to pull them too, add a group without a sink that has the same patterns", p.Group.Name)
	}
	got, err := h.groups.Wait(r.Context(), p, key.ID, min(wait, h.maxWait))
	if err != nil {
		shown := protocol.Unknownf("Redis did not answer; messages may have been leased, and are delivered again when their leases end; try again")
		return fmt.Errorf("%w: %w", shown, err)
	}
	api.Write(w, http.StatusOK, appendMessages(nil, got))
	return nil
}

// ack serves POST /v1/groups/{group}/ack.
func (h *handler) ack(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	body, err := api.ReadObject(w, r, MaxAckBodyBytes, "ackIds", "nack")
	if err != nil {
		return err
	}
	acks, nacks, err := readAcks(body)
	if err != nil {
		return err
	}
	g, err := groupOf(r, key)
	if err != nil {
		return err
	}
	held, err := h.groups.Ack(r.Context(), key.App, g, acks, nacks)
	switch {
	case errors.Is(err, group.ErrAckID):
		return protocol.Errorf(protocol.InvalidRequest, "invalid ackId: repeat each ackId exactly as a pull has given it; nothing was acknowledged or refused")
	case err != nil:
		shown := protocol.Unknownf("Redis did not answer; some of the messages may be acknowledged; try again, which does no harm")
		return fmt.Errorf("%w: %w", shown, err)
	}
	for _, n := range nacks {
		acks = append(acks, n.AckID)
	}
	api.Write(w, http.StatusOK, appendAcks(nil, acks, held))
	return nil
}

// state serves GET /v1/groups/{group}.
func (h *handler) state(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	if _, err := api.ReadQuery(r.URL.RawQuery); err != nil {
		return err
	}
	g, err := groupOf(r, key)
	if err != nil {
		return err
	}
	state, err := h.groups.State(r.Context(), key.App, g)
	var of sink.State
	if err == nil && g.Sink != nil {
		of, err = h.sinks.Read(r.Context(), key.App, g)
	}
	if err != nil {
		shown := protocol.Errorf(protocol.BackendError, "Redis did not say what waits for the group; try again")
		return fmt.Errorf("%w: %w", shown, err)
	}
	api.Write(w, http.StatusOK, appendState(nil, g, state, of))
	return nil
}

// dead serves GET /v1/groups/{group}/dead.
func (h *handler) dead(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	query, err := api.ReadQuery(r.URL.RawQuery, "limit", "cursor")
	if err != nil {
		return err
	}
	limit, err := api.ReadLimit(query, MaxDead, MaxDead)
	if err != nil {
		return err
	}
	after, err := api.ReadCursor(query)
	if err != nil {
		return err
	}
	g, err := groupOf(r, key)
	if err != nil {
		return err
	}
	letters, next, err := h.groups.Dead(r.Context(), key.App, g, after, limit)
	switch {
	case errors.Is(err, group.ErrDeadID):
		return api.WrongCursor()
	case err != nil:
		shown := protocol.Errorf(protocol.BackendError, "Redis did not say which dead letters there are; try again")
		return fmt.Errorf("%w: %w", shown, err)
	}
	api.Write(w, http.StatusOK, appendDead(nil, letters, next))
	return nil
}

// redrive serves POST /v1/groups/{group}/redrive.
func (h *handler) redrive(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	body, err := api.ReadObject(w, r, protocol.MaxBodyBytes, "ids")
	if err != nil {
		return err
	}
	ids, err := readIDs(body)
	if err != nil {
		return err
	}
	g, err := groupOf(r, key)
	if err != nil {
		return err
	}
	n, err := h.groups.Redrive(r.Context(), key.App, g, ids)
	if err != nil {
		return deadError(err)
	}
	return api.WriteJSON(w, struct {
		Redriven int `json:"redriven"`
	}{n})
}

// resume serves POST /v1/groups/{group}/resume.
func (h *handler) resume(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	if err := api.ReadNothing(w, r); err != nil {
		return err
	}
	g, err := groupOf(r, key)
	if err != nil {
		return err
	}
	if g.Sink == nil {
		return protocol.Errorf(protocol.InvalidRequest, "group %s has no sink; its messages wait for ingesters", g.Name)
	}
	if err := h.sinks.Resume(r.Context(), key.App, g); err != nil {
		shown := protocol.Unknownf("Redis did not answer; the sink may be tried again already; try again, which does no harm")
		return fmt.Errorf("%w: %w", shown, err)
	}
	return api.WriteJSON(w, struct {
		State sink.Condition `json:"state"`
	}{sink.OK})
}

// deleteDead serves DELETE /v1/groups/{group}/dead.
func (h *handler) deleteDead(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	query, err := api.ReadQuery(r.URL.RawQuery, "id")
	if err != nil {
		return err
	}
	var ids []string
	if query.Has("id") {
		if ids = []string{query.Get("id")}; ids[0] == "" {
			return protocol.Errorf(protocol.InvalidRequest, "id is empty; name a dead letter, or leave it out to delete all")
		}
	}
	g, err := groupOf(r, key)
	if err != nil {
		return err
	}
	n, err := h.groups.DeleteDead(r.Context(), key.App, g, ids)
	if err != nil {
		return deadError(err)
	}
	return api.WriteJSON(w, struct {
		Deleted int `json:"deleted"`
	}{n})
}

// deadError is what the caller sees when dead letters were not moved or deleted.
func deadError(err error) error {
	if errors.Is(err, group.ErrDeadID) {
		return protocol.Errorf(protocol.InvalidRequest, "invalid id of a dead letter: repeat each id exactly as GET …/dead has given it; nothing was done")
	}
	shown := protocol.Unknownf("Redis did not answer; it may have been done for some of the dead letters; try again, which does no harm")
	return fmt.Errorf("%w: %w", shown, err)
}
