package orders

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// A node says every presentEvery that it is there. It counts as gone when it has not for presentFor.
const (
	presentEvery = 2 * time.Second
	presentFor   = 8 * time.Second
	// presentLimit bounds how long that may take.
	presentLimit = 500 * time.Millisecond
)

//go:embed present.lua
var presentLua string

var presentScript = redisconn.NewScript(presentLua)

// announce says that a node is there.
func announce(ctx context.Context, rdb redis.UniversalClient, keys rediskeys.Namespace, node string) error {
	return redisconn.Exec(ctx, rdb, []*redisconn.Call{{
		Script: presentScript, Keys: []string{keys.Nodes()}, Args: []any{node, presentFor.Milliseconds()},
	}})
}

// nodes are all nodes that are there.
func (s *Sender) nodes(ctx context.Context) ([]quota.Holder, error) {
	call := &redisconn.Call{Script: presentScript, Keys: []string{s.keys.Nodes()}, Args: []any{"", presentFor.Milliseconds()}}
	if err := redisconn.Exec(ctx, s.rdb, []*redisconn.Call{call}); err != nil {
		return nil, err
	}
	names, err := call.Reply.StringSlice()
	if err != nil {
		return nil, err
	}
	all := make([]quota.Holder, len(names))
	for i, name := range names {
		all[i].Node = name
	}
	return all, nil
}

// Report has all nodes tell of themselves and of the app (InboxOptions.Report), and returns what
// they say: a JSON object each. unanswered is how many did not within a second, or are of a
// version that does not know of this.
func (s *Sender) Report(ctx context.Context, app string) (reports []json.RawMessage, unanswered int, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := s.nodes(ctx)
	if err != nil {
		return nil, 0, err
	}
	err = s.ask(ctx, all, order{kind: asksReport, app: app}, func(answer string) error {
		if strings.HasPrefix(answer, "{") {
			reports = append(reports, json.RawMessage(answer))
		}
		return nil
	})
	if errors.Is(err, ErrUnanswered) {
		err = nil
	}
	return reports, len(all) - len(reports), err
}

// Watch has all nodes do what a watch of an app says (InboxOptions.Watch), and returns when they have, or
// when none has answered for a second. A node that does not answer is no error.
func (s *Sender) Watch(ctx context.Context, app string, watch []byte) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	err = s.ask(ctx, all, order{watches, app, string(watch)}, func(string) error { return nil })
	if errors.Is(err, ErrUnanswered) {
		return nil
	}
	return err
}
