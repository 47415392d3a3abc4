// Package history serves what channels remember (protocol §9): GET
// /v1/channels/{channel}/messages reads it, DELETE forgets it.
package history

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/history"
)

// The routes of the handlers.
var (
	ReadRoute   = api.Route{Method: http.MethodGet, Path: "/v1/channels/{channel}/messages", Function: "history"}
	ForgetRoute = api.Route{Method: http.MethodDelete, Path: "/v1/channels/{channel}/messages", Function: "history"}
)

// MaxPage bounds the messages of an answer.
const MaxPage = 300

// Store keeps the messages: [history.Store].
type Store interface {
	Read(ctx context.Context, reads []*history.Read) error
	Forget(ctx context.Context, app *apps.App, channel string) error
}

// Endpoints makes the endpoints of both routes.
func Endpoints(c api.Config, store Store) []*api.Endpoint {
	if store == nil {
		panic("history.Endpoints: a Store is required")
	}
	h := &handler{store}
	return []*api.Endpoint{api.New(c, ReadRoute, h.read), api.New(c, ForgetRoute, h.forget)}
}

// New makes the handler of both routes.
func New(c api.Config, store Store) http.Handler {
	return api.NewRouter(c, nil, Endpoints(c, store)...)
}

type handler struct{ store Store }

// read answers {"epoch","offset","recovered"?,"messages":[{"offset","at","from","data"}]}.
func (h *handler) read(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	read, err := readQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if read.Channel, err = remembering(r, key, apps.ActionSubscribe); err != nil {
		return err
	}
	read.App = key.App
	if err := h.store.Read(r.Context(), []*history.Read{read}); err != nil {
		shown := protocol.Errorf(protocol.BackendError, "Redis did not say what the channel remembers; try again")
		return fmt.Errorf("%w: %w", shown, err)
	}
	api.Write(w, http.StatusOK, appendPage(nil, read))
	return nil
}

// forget answers {"channel":"…"}.
func (h *handler) forget(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	if _, err := api.ReadQuery(r.URL.RawQuery); err != nil {
		return err
	}
	name, err := remembering(r, key, apps.ActionPublish)
	if err != nil {
		return err
	}
	if err := h.store.Forget(r.Context(), key.App, name); err != nil {
		shown := protocol.Unknownf("Redis did not answer; whether the messages are forgotten is not known; try again, which does no harm")
		return fmt.Errorf("%w: %w", shown, err)
	}
	return api.WriteJSON(w, struct {
		Channel string `json:"channel"`
	}{name})
}

// remembering is the channel in the path, if the key may do what the action says there and
// the channel remembers.
func remembering(r *http.Request, key *apps.Key, action apps.Action) (string, error) {
	name, err := api.Channel(r)
	if err != nil {
		return "", err
	}
	if refused := auth.KeyGrant(key, "", nil).Check(action, name); refused != nil {
		return "", refused
	}
	if key.App.HistoryOf(name) == nil {
		return "", protocol.Errorf(protocol.InvalidRequest, "channel %s remembers no messages: no pattern in the history of the app's configuration matches it", api.Quote(name))
	}
	return name, nil
}

func appendPage(b []byte, r *history.Read) []byte {
	b = append(append(b, '{'), api.AppendPosition(nil, r.Position)[1:]...) // without its first comma
	if r.Since != nil {
		b = strconv.AppendBool(append(b, `,"recovered":`...), r.Recovered)
	}
	b = append(b, `,"messages":[`...)
	for i := range r.Messages {
		if i > 0 {
			b = append(b, ',')
		}
		b = api.AppendMessage(b, &r.Messages[i])
	}
	return append(b, "]}"...)
}
