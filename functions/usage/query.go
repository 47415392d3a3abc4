package usage

import (
	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/usage"
)

type rankingQuery struct {
	pattern *channel.Pattern // nil: all
	limit   int
	cursor  string
}

func readRankingQuery(raw string) (q rankingQuery, err error) {
	values, err := api.ReadQuery(raw, "pattern", "limit", "cursor")
	if err != nil {
		return q, err
	}
	if values.Has("pattern") {
		if q.pattern, err = channel.Compile(values.Get("pattern")); err != nil {
			return q, protocol.Errorf(protocol.InvalidRequest, "pattern: %v", err)
		}
	}
	if q.limit, err = api.ReadLimit(values, usage.DefaultLimit, usage.MaxLimit); err != nil {
		return q, err
	}
	q.cursor = values.Get("cursor")
	return q, nil
}
