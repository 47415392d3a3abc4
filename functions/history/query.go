package history

import (
	"strconv"
	"strings"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/history"
)

// readQuery reads where a read begins, and how far it goes. Without since and last it has
// the newest messages, as many as an answer holds.
func readQuery(raw string) (*history.Read, error) {
	query, err := api.ReadQuery(raw, "since", "last", "limit")
	if err != nil {
		return nil, err
	}
	read := &history.Read{}
	if read.Limit, err = api.ReadLimit(query, MaxPage, MaxPage); err != nil {
		return nil, err
	}
	switch {
	case query.Has("since") && query.Has("last"):
		err = protocol.Errorf(protocol.InvalidRequest, "since and last are both there; a read begins at one of them")
	case query.Has("since"):
		read.Since, err = readSince(query.Get("since"))
	case query.Has("last"):
		read.Last, err = readLast(query.Get("last"))
	default:
		read.Last = read.Limit
	}
	return read, err
}

// readSince reads EPOCH:OFFSET.
func readSince(text string) (*protocol.Position, error) {
	epoch, offset, ok := strings.Cut(text, ":")
	n, err := plain(offset)
	if !ok || err != nil || n > protocol.MaxOffset || !protocol.ValidEpoch(epoch) {
		return nil, protocol.Errorf(protocol.InvalidRequest, "since is %s; it must be an epoch and an offset, such as 6Hq2:41, as an answer has them", api.Quote(text))
	}
	return &protocol.Position{Epoch: epoch, Offset: n}, nil
}

func readLast(text string) (int, error) {
	n, err := plain(text)
	if err != nil || n < 1 || n > protocol.MaxLast {
		return 0, protocol.Errorf(protocol.InvalidRequest, "last is %s; it must be a whole number of messages from 1 to %d, in plain digits", api.Quote(text), protocol.MaxLast)
	}
	return int(n), nil
}

// plain reads a number in plain digits alone: strconv would take "007" as well.
func plain(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err == nil && strconv.FormatUint(n, 10) != text {
		err = strconv.ErrSyntax
	}
	return n, err
}
