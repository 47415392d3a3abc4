package api

import (
	"encoding/base64"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"fleetwire/clients/go/protocol"
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

// cursorEncoding survives a URL's query unescaped.
var cursorEncoding = base64.RawURLEncoding.Strict()

// Cursor is the cursor of a page behind the entry with that name: a peer's id, or other
// printable ASCII.
func Cursor(last string) string { return cursorEncoding.EncodeToString([]byte(last)) }

// ReadCursor reads what a page begins behind; "": it is the first.
func ReadCursor(values url.Values) (after string, err error) {
	cursor := values.Get("cursor")
	if cursor == "" {
		return "", nil
	}
	last, err := cursorEncoding.DecodeString(cursor)
	if err != nil || !protocol.ValidPeerID(string(last)) {
		return "", WrongCursor()
	}
	return string(last), nil
}

// WrongCursor is the answer to a cursor that no page has given.
func WrongCursor() error {
	return protocol.Errorf(protocol.InvalidRequest,
		"invalid cursor: repeat the cursor of the page before exactly as it came, or leave it out to begin at the top")
}
