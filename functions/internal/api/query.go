package api

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"fleetwire/pkg/protocol"
)

// ReadQuery reads a query string that has no other parameters than known, and
// none of them twice: a misspelt "patern" must not show the whole app's costs as
// if they were those of a few channels.
func ReadQuery(raw string, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, protocol.Errorf(protocol.InvalidRequest, "the query cannot be read (%v); percent-encode what it holds", err)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, name) {
			if len(known) == 0 {
				return nil, protocol.Errorf(protocol.InvalidRequest, "there is no parameter %s; this path takes none", Quote(name))
			}
			return nil, protocol.Errorf(protocol.InvalidRequest, "there is no parameter %s; the parameters are %s", Quote(name), strings.Join(known, ", "))
		}
		if len(values[name]) > 1 {
			return nil, protocol.Errorf(protocol.InvalidRequest, "%s is there twice; send it once", name)
		}
	}
	return values, nil
}

// ReadLimit reads how many entries a page may have, at most most. If values do not
// say it, that is usual. It takes plain digits alone: strconv would take "+5" and
// "007" as well.
func ReadLimit(values url.Values, usual, most int) (int, error) {
	if !values.Has("limit") {
		return usual, nil
	}
	text := values.Get("limit")
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most || strconv.Itoa(n) != text {
		return 0, protocol.Errorf(protocol.InvalidRequest, "limit is %s; it must be a whole number of entries from 1 to %d, in plain digits",
			Quote(text), most)
	}
	return n, nil
}
