package presence

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

// keys name what the tests have in Redis.
var keys rediskeys.Namespace

func TestParseAnnouncement(t *testing.T) {
	tests := []struct {
		name, payload string
		want          *Announcement // nil: refused
	}{
		{"one joins", "5:1\n+p\t{\"a\":1}\n", &Announcement{Version{5, 1}, []Change{{Joined, Member{"p", `{"a":1}`}}}}},
		{"one leaves", "5:2\n-p q\t\n", &Announcement{Version{5, 2}, []Change{{Left, Member{"p q", ""}}}}},
		{"both", "5:12\n++\t\n--\t{}\n", &Announcement{Version{5, 12}, []Change{{Joined, Member{"+", ""}}, {Left, Member{"-", "{}"}}}}},
		{"one has new metadata", "5:3\n~p\t{}\n", &Announcement{Version{5, 3}, []Change{{Updated, Member{"p", "{}"}}}}},
		{"a colon and quotes in the peer id", "1:1\n+a:\"b\\\t\n", &Announcement{Version{1, 1}, []Change{{Joined, Member{`a:"b\`, ""}}}}},
		{"nothing", "", nil},
		{"no line", "5:1", nil},
		{"no version", "+p\t\n", nil},
		{"half a version", "5\n+p\t\n", nil},
		{"version without a number", "5:\n+p\t\n", nil},
		{"number zero", "5:0\n+p\t\n", nil},
		{"negative number", "5:-1\n+p\t\n", nil},
		{"cut off", "5:1\n+p\t{", nil},
		{"no tab", "5:1\n+p\n", nil},
		{"no peer", "5:1\n+\t\n", nil},
		{"neither + nor -", "5:1\n*p\t\n", nil},
		{"empty line", "5:1\n\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseAnnouncement([]byte(tt.payload))
			if (err != nil) != (tt.want == nil) || err == nil && !reflect.DeepEqual(got, *tt.want) {
				t.Errorf("%+v %v, want %+v", got, err, tt.want)
			}
		})
	}
}

// Whoever can publish in Redis can announce anything: it is refused, or it is
// what was written.
func FuzzParseAnnouncement(f *testing.F) {
	f.Add([]byte("5:1\n+p\t{\"a\":1}\n-q\t\n"))
	f.Add([]byte("5:1\n"))
	f.Add([]byte("\n\n"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := ParseAnnouncement(payload)
		if err != nil {
			return
		}
		var b strings.Builder
		for _, c := range a.Changes {
			b.WriteString(string(rune(c.Kind)) + c.Peer + "\t" + c.Metadata + "\n")
		}
		if _, changes, _ := strings.Cut(string(payload), "\n"); changes != b.String() || a.Version.Number < 1 {
			t.Errorf("%q was read as %+v", payload, a)
		}
	})
}

// What is no channel's state is an error, not an empty channel.
func TestForeignKeys(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	ctx := context.Background()
	key := keys.Bucket("app", "c").Members("c")
	for name, spoil := range map[string]func() error{
		"a string":             func() error { return rdb.Set(ctx, key, "x", 0).Err() },
		"no version":           func() error { return rdb.HSet(ctx, key, "p", "n\n").Err() },
		"a wrong version":      func() error { return rdb.HSet(ctx, key, "", "x").Err() },
		"a member without \\n": func() error { return rdb.HSet(ctx, key, "", "1:1", "p", "n").Err() },
	} {
		if err := rdb.Del(ctx, key).Err(); err != nil {
			t.Fatal(err)
		}
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if states, err := Load(ctx, rdb, keys, []ChannelID{{"app", "c"}}); err == nil {
			t.Errorf("%s is read as %v", name, states)
		}
	}
}

// A channel that Redis loses while it is read is not taken for one that its members
// have left: it is read again.
func TestLoadOfALostChannel(t *testing.T) {
	ctx := context.Background()
	for name, test := range map[string]struct{ before, after string }{
		"lost":             {"5:7", ""},
		"stated anew":      {"5:7", "6:1"},
		"an older Redis's": {"5:7", "5:3"},
		"begun":            {"", "6:1"},
	} {
		l := &load{before: stringReply(ctx, test.before), after: stringReply(ctx, test.after), page: redis.NewScanCmdResult([]string{"p", "n\n"}, 0, nil), cursor: 3}
		if err := l.take(); err != nil || l.done || l.cursor != 0 || len(l.state.Members) > 0 {
			t.Errorf("%s: %+v, %v; want it to be read again", name, l.state, err)
		}
	}
}

func stringReply(ctx context.Context, s string) *redis.StringCmd {
	c := redis.NewStringCmd(ctx)
	if s == "" {
		c.SetErr(redis.Nil)
	} else {
		c.SetVal(s)
	}
	return c
}
