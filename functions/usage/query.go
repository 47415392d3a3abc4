package usage

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"fleetwire/functions/internal/api"
	"fleetwire/pkg/channel"
	"fleetwire/pkg/protocol"
	"fleetwire/pkg/usage"
)

// readQuery reads a query string that has no other parameters than known, and
// none of them twice: a misspelt "patern" must not show the whole app's costs as
// if they were those of a few channels.
func readQuery(raw string, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, protocol.Errorf(protocol.InvalidRequest, "the query cannot be read (%v); percent-encode what it holds", err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, name) {
			if len(known) == 0 {
				return nil, protocol.Errorf(protocol.InvalidRequest, "there is no parameter %s; this path takes none", api.Quote(name))
			}
			return nil, protocol.Errorf(protocol.InvalidRequest, "there is no parameter %s; the parameters are %s", api.Quote(name), strings.Join(known, ", "))
		}
		if len(values[name]) > 1 {
			return nil, protocol.Errorf(protocol.InvalidRequest, "%s is there twice; send it once", name)
		}
	}
	return values, nil
}

type rankingQuery struct {
	pattern *channel.Pattern // nil: all
	limit   int
	cursor  string
}

func readRankingQuery(raw string) (q rankingQuery, err error) {
	values, err := readQuery(raw, "pattern", "limit", "cursor")
	if err != nil {
		return q, err
	}
	if values.Has("pattern") {
		if q.pattern, err = channel.Compile(values.Get("pattern")); err != nil {
			return q, protocol.Errorf(protocol.InvalidRequest, "pattern: %v", err)
		}
	}
	q.limit = usage.DefaultLimit
	if values.Has("limit") {
		if q.limit, err = readLimit(values.Get("limit")); err != nil {
			return q, err
		}
	}
	q.cursor = values.Get("cursor")
	return q, nil
}

// readLimit takes plain digits alone: strconv would take "+5" and "007" as well.
func readLimit(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > usage.MaxLimit || strconv.Itoa(n) != text {
		return 0, protocol.Errorf(protocol.InvalidRequest, "limit is %s; it must be a whole number of entries from 1 to %d, in plain digits",
			api.Quote(text), usage.MaxLimit)
	}
	return n, nil
}
