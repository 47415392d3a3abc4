package node

import (
	"context"
	"encoding/json"
	"time"

	"fleetwire/fanout/internal/tally"
	"fleetwire/pkg/program"
)

// pingPatience bounds how long a node that is asked about itself waits for Redis.
const pingPatience = 500 * time.Millisecond

// report is what GET /v1/nodes shows of a node, to one app.
type report struct {
	Node      string `json:"node"`
	Version   string `json:"version"`
	StartedAt int64  `json:"startedAt"` // unix milliseconds
	Draining  bool   `json:"draining"`
	Ready     bool   `json:"ready"`
	tally.Shown
	Redis redisReport `json:"redis"`
}

type redisReport struct {
	Up bool `json:"up"`
	// Seconds is how long Redis takes to answer a ping; nil: it did not answer.
	Seconds *float64 `json:"seconds,omitempty"`
}

// report tells of the node and of what an app does here, as orders ask for it.
func (n *Node) report(ctx context.Context, app string) []byte {
	r := report{
		Node: n.id, Version: program.Version(), StartedAt: n.started.UnixMilli(),
		Draining: n.draining.Load(), Ready: n.Ready(), Shown: n.tally.Of(app).Shown(), Redis: redisReport{Up: n.health.Up()},
	}
	ctx, cancel := context.WithTimeout(ctx, pingPatience)
	defer cancel()
	begin := time.Now()
	if n.opt.Redis.Ping(ctx).Err() == nil {
		took := time.Since(begin).Seconds()
		r.Redis.Seconds = &took
	}
	text, _ := json.Marshal(r) // never fails: it holds text and numbers
	return text
}
