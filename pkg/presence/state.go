package presence

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

// Member is a peer in a channel.
type Member struct {
	Peer     string // 1–128 printable ASCII characters
	Metadata string // compact JSON object, of its newest connection; "": it has none
}

// Version says how far a channel's state has come. The zero Version is that of a
// channel with nobody in it.
type Version struct {
	// Incarnation is when the channel ceased to be empty, by a node's clock (µs).
	Incarnation int64
	// Number counts the announcements since; the first is 1.
	Number int64
}

// String is how Redis has it.
func (v Version) String() string {
	return strconv.FormatInt(v.Incarnation, 10) + ":" + strconv.FormatInt(v.Number, 10)
}

func parseVersion(s string) (Version, error) {
	incarnation, number, ok := strings.Cut(s, ":")
	if ok {
		i, err1 := strconv.ParseInt(incarnation, 10, 64)
		n, err2 := strconv.ParseInt(number, 10, 64)
		if err1 == nil && err2 == nil && n > 0 {
			return Version{i, n}, nil
		}
	}
	return Version{}, fmt.Errorf("%q is not the version of a channel", s)
}

// State is a channel's members at one version.
type State struct {
	Version Version
	Members []Member // in no order
}

// ChannelID names one channel of one app.
type ChannelID struct{ App, Channel string }

// Load reads the channels in one round trip. An error means that Redis did not
// answer, or that there is something else under a channel's key.
func Load(ctx context.Context, rdb redis.UniversalClient, keys rediskeys.Namespace, channels []ChannelID) ([]State, error) {
	p := rdb.Pipeline()
	replies := make([]*redis.MapStringStringCmd, len(channels))
	for i, id := range channels {
		replies[i] = p.HGetAll(ctx, keys.Bucket(id.App, id.Channel).Members(id.Channel))
	}
	if _, err := p.Exec(ctx); err != nil {
		return nil, err
	}
	states := make([]State, len(channels))
	for i, reply := range replies {
		var err error
		if states[i], err = parseState(reply.Val()); err != nil {
			return nil, fmt.Errorf("presence of channel %q: %w", channels[i].Channel, err)
		}
	}
	return states, nil
}

// List returns who is in the channel, sorted by peer id.
func List(ctx context.Context, rdb redis.UniversalClient, keys rediskeys.Namespace, app, channelName string) ([]Member, error) {
	states, err := Load(ctx, rdb, keys, []ChannelID{{app, channelName}})
	if err != nil {
		return nil, err
	}
	members := states[0].Members
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Peer, b.Peer) })
	return members, nil
}

// parseState reads what change.lua keeps: the version in the field "", and for
// each peer the nodes that it is on, separated by commas, a newline, and its
// metadata.
func parseState(fields map[string]string) (State, error) {
	if len(fields) == 0 {
		return State{}, nil
	}
	version, err := parseVersion(fields[""])
	if err != nil {
		return State{}, err
	}
	s := State{Version: version, Members: make([]Member, 0, len(fields)-1)}
	for peer, value := range fields {
		if peer == "" {
			continue
		}
		_, metadata, ok := strings.Cut(value, "\n")
		if !ok {
			return State{}, errors.New("a member without a line of nodes")
		}
		s.Members = append(s.Members, Member{strings.Clone(peer), strings.Clone(metadata)})
	}
	return s, nil
}
