package presence

import (
	"cmp"
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
// channel without members.
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

func ParseVersion(s string) (Version, error) {
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

// State is a channel's members at one version (but see Load).
type State struct {
	Version Version
	Members []Member // in no order; one may be there twice, and then the last is true
	Err     error    // Redis did not tell them
}

// ChannelID names one channel of one app.
type ChannelID struct{ App, Channel string }

// scannedAtOnce bounds, roughly, the members of one command of a load: with 4 KiB
// of metadata each they keep Redis busy for some tenths of a millisecond.
const scannedAtOnce = 100

// Load reads the channels, those with up to some hundred members in one round trip
// together. An error means that Redis did not answer, or that there is something
// else under a channel's key. Each State has its own; the first of them is returned.
//
// A larger channel is read in parts, while it changes. Its version is what it was
// before the first part. The members are those of then; members that changed since
// may be as before or as after. A reader that applies all announcements after that
// version knows who is there. A channel that became empty meanwhile, or that Redis
// has lost, is read again.
func Load(ctx context.Context, rdb redis.UniversalClient, keys rediskeys.Namespace, channels []ChannelID) ([]State, error) {
	loads := make([]*load, len(channels))
	for i, id := range channels {
		loads[i] = &load{key: keys.Bucket(id.App, id.Channel).Members(id.Channel), name: id.Channel}
	}
	for left := slices.Clone(loads); len(left) > 0; left = slices.DeleteFunc(left, func(l *load) bool { return l.done }) {
		p := rdb.Pipeline()
		for _, l := range left {
			if l.cursor == 0 {
				l.before = p.HGet(ctx, l.key, "")
			}
			l.page = p.HScan(ctx, l.key, l.cursor, "", scannedAtOnce)
			l.after = p.HGet(ctx, l.key, "")
		}
		_, _ = p.Exec(ctx) // each command has its error
		for _, l := range left {
			if err := l.take(); err != nil {
				l.done, l.state = true, State{Err: fmt.Errorf("presence of channel %q: %w", l.name, err)}
			}
		}
	}
	states := make([]State, len(loads))
	var failed error
	for i, l := range loads {
		states[i] = l.state
		failed = cmp.Or(failed, l.state.Err)
	}
	return states, failed
}

// load is a channel that is being read.
type load struct {
	key, name     string
	before, after *redis.StringCmd // the version
	page          *redis.ScanCmd
	cursor        uint64
	done          bool
	state         State
}

// take takes what Redis has answered. change.lua keeps the version in the field "",
// and for each peer the nodes that it is on, separated by commas, a newline, and its
// metadata.
func (l *load) take() error {
	fields, cursor, err := l.page.Result()
	if err != nil {
		return err
	}
	before, err := versionIn(l.before)
	if err != nil {
		return err
	}
	after, err := versionIn(l.after)
	if err != nil {
		return err
	}
	if before.Incarnation != after.Incarnation || before.Number > after.Number {
		l.cursor, l.state = 0, State{}
		return nil
	}
	if before.Number == 0 && len(fields) > 0 {
		return errors.New("members without a version")
	}
	l.state.Version = before
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i] == "" {
			continue
		}
		m, err := parseMember(fields[i], fields[i+1])
		if err != nil {
			return err
		}
		l.state.Members = append(l.state.Members, m)
	}
	l.cursor = cursor
	l.done = cursor == 0
	return nil
}

// versionIn reads a channel's version, the zero one if there is no channel.
func versionIn(reply *redis.StringCmd) (Version, error) {
	text, err := reply.Result()
	if errors.Is(err, redis.Nil) {
		return Version{}, nil
	}
	if err != nil {
		return Version{}, err
	}
	return ParseVersion(text)
}

func parseMember(peer, value string) (Member, error) {
	_, metadata, ok := strings.Cut(value, "\n")
	if !ok {
		return Member{}, errors.New("a member without a line of nodes")
	}
	return Member{strings.Clone(peer), strings.Clone(metadata)}, nil
}
