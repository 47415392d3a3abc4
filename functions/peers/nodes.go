package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// NodesRoute is where the handler of [NewNodes] belongs.
var NodesRoute = api.Route{Method: http.MethodGet, Path: "/v1/nodes", Function: "peers"}

// Reporter asks all nodes about themselves: [orders.Sender].
type Reporter interface {
	// Report returns what each node says, a JSON object with a field node, and how many nodes said
	// nothing.
	Report(ctx context.Context, app string) (reports []json.RawMessage, unanswered int, err error)
}

// NewNodes makes the handler that lists the nodes, each with what the key's app has done there since
// the node started: 200 {"nodes":[…],"unanswered":0}, sorted by the nodes' ids. unanswered counts
// nodes that did not answer within a second. The key needs the action presence. Without Redis it
// is 503 backend_error.
func NewNodes(c api.Config, nodes Reporter) *api.Endpoint {
	if nodes == nil {
		panic("peers.NewNodes: Reporter is required")
	}
	return api.New(c, NodesRoute, func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		if _, err := api.ReadQuery(r.URL.RawQuery); err != nil {
			return err
		}
		if !key.Actions.Has(apps.ActionPresence) {
			return auth.NotPermitted(apps.ActionPresence)
		}
		reports, unanswered, err := nodes.Report(r.Context(), key.App.ID)
		if err != nil {
			return fmt.Errorf("%w: %w", protocol.Errorf(protocol.BackendError, "the nodes could not be asked; try again"), err)
		}
		// Each begins with the node's id, so this is their order, too.
		slices.SortFunc(reports, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
		return api.WriteJSON(w, nodesAnswer{append([]json.RawMessage{}, reports...), unanswered})
	})
}

type nodesAnswer struct {
	Nodes      []json.RawMessage `json:"nodes"`
	Unanswered int               `json:"unanswered"`
}
