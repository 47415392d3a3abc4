package usage

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn/redistest"
)

func TestPatterns(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		r, _ := newRecorder(t, rdb)
		for i, name := range []string{"devices/a/events", "devices/b/events", "devices/a/b/events", "public", `st\*r`, `st*r`, "日本/é"} {
			publish(r, "app_a", name, "", 10-i, 1)
			publish(r, "app_a", "", strings.ReplaceAll(name, "/", " "), 10-i, 1)
		}
		flush(t, r)
		reader := NewReader(rdb, keys, nil)
		for _, tt := range []struct {
			kind    Kind
			pattern string
			want    []string
		}{
			{Channels, "devices/*/events", []string{"devices/a/events", "devices/b/events"}},
			{Channels, "devices/**", []string{"devices/a/events", "devices/b/events", "devices/a/b/events"}},
			{Channels, "**/events", []string{"devices/a/events", "devices/b/events", "devices/a/b/events"}},
			{Channels, "**", []string{"devices/a/events", "devices/b/events", "devices/a/b/events", "public", `st\*r`, `st*r`, "日本/é"}},
			{Channels, "*", []string{"public", `st\*r`, `st*r`}},
			{Channels, "public", []string{"public"}},
			{Channels, "Public", nil},
			{Channels, "日本/é", []string{"日本/é"}},
			{Channels, `st\*r`, []string{`st\*r`, `st*r`}},
			{Channels, `st*r`, []string{`st\*r`, `st*r`}},
			{Channels, "none/**", nil},
			{Peers, "devices *", []string{"devices a events", "devices b events", "devices a b events"}},
			{Peers, "public", []string{"public"}},
		} {
			for _, limit := range []int{1, 2, MaxLimit} {
				var got []string
				for _, e := range read(t, reader, "app_a", tt.kind, compile(t, tt.pattern), limit) {
					got = append(got, e.Name)
					if e.Bytes != e.Published {
						t.Errorf("%+v: want as many bytes as messages", e)
					}
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("%s by %s in pages of %d: %q, want %q", tt.kind, tt.pattern, limit, got, tt.want)
				}
			}
		}
	})
}

// fill makes a ranking of the period that now falls in.
func fill(t testing.TB, rdb redis.UniversalClient, app string, kind Kind, entries []redis.Z) string {
	t.Helper()
	start, _ := quota.Period(thisPeriod())
	key := keys.Usage(app, periodName(start), string(kind))
	for chunk := range slices.Chunk(entries, 1000) {
		if err := rdb.ZAdd(context.Background(), key, chunk...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return key
}

// Most of a fleet has the same count: the order among equals decides what a page holds.
func TestPagesNeitherSkipNorRepeat(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		random := rand.New(rand.NewPCG(7, 7))
		// Names that are hard to order: one begins another, bytes above 127, upper and lower case.
		alphabet := []string{"a", "B", "é", "/", "日", "~", "_", "aa"}
		for round := range 10 {
			app := fmt.Sprint("app_", round)
			names := map[string]bool{}
			var entries []redis.Z
			for range 150 {
				var name strings.Builder
				for range 1 + random.IntN(4) {
					name.WriteString(alphabet[random.IntN(len(alphabet))])
				}
				if !names[name.String()] {
					names[name.String()] = true
					entries = append(entries, redis.Z{Score: float64(1 + random.IntN(1+round)), Member: name.String()})
				}
			}
			fill(t, rdb, app, Channels, entries)
			slices.SortFunc(entries, func(a, b redis.Z) int {
				if a.Score != b.Score {
					return int(b.Score - a.Score)
				}
				return strings.Compare(b.Member.(string), a.Member.(string))
			})
			for _, limit := range []int{1, 3, 1 + random.IntN(50), len(entries), len(entries) - 1} {
				got := read(t, NewReader(rdb, keys, nil), app, Channels, nil, limit)
				if len(got) != len(entries) {
					t.Errorf("round %d: %d entries in pages of %d, want %d", round, len(got), limit, len(entries))
					continue
				}
				for i, e := range got {
					if e.Name != entries[i].Member || float64(e.Published) != entries[i].Score {
						t.Fatalf("round %d: entry %d in pages of %d is %v, want %v", round, i, limit, e, entries[i])
					}
				}
			}
		}
	})
}

// While messages come in between two pages, nothing comes twice, and what stayed
// where it was is not skipped, not even when the cursor's own entry has moved or gone.
func TestPagesWhileTheRankingChanges(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		ctx := context.Background()
		for name, change := range map[string]func(key string) error{
			"the cursor's entry moves up": func(key string) error { return rdb.ZIncrBy(ctx, key, 90, "c").Err() },
			"the cursor's entry is gone":  func(key string) error { return rdb.ZRem(ctx, key, "c").Err() },
			"an entry above moves up":     func(key string) error { return rdb.ZIncrBy(ctx, key, 1, "d").Err() },
			"an entry comes in above":     func(key string) error { return rdb.ZIncrBy(ctx, key, 50, "new").Err() },
		} {
			key := fill(t, rdb, "app_a", Channels, []redis.Z{
				{Score: 5, Member: "d"}, {Score: 5, Member: "c"}, {Score: 5, Member: "b"}, {Score: 5, Member: "a"}, {Score: 1, Member: "z"}})
			reader := NewReader(rdb, keys, nil)
			first, err := reader.Top(ctx, "app_a", Channels, nil, 2, "")
			if err != nil || len(first.Entries) != 2 || first.Entries[1].Name != "c" {
				t.Fatalf("%s: %+v, %v", name, first, err)
			}
			if err := change(key); err != nil {
				t.Fatal(err)
			}
			second, err := reader.Top(ctx, "app_a", Channels, nil, 10, first.Next)
			if want := []Entry{{"b", 5, 0}, {"a", 5, 0}, {"z", 1, 0}}; err != nil || !slices.Equal(second.Entries, want) || second.Next != "" {
				t.Errorf("%s: %+v, %v, want %v", name, second, err, want)
			}
			if err := rdb.Del(ctx, key).Err(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A pattern that matches next to nothing must not make Redis, or the caller, wait
// for the whole ranking.
func TestRareMatchesAreFoundPageByPage(t *testing.T) {
	rdb := redistest.Start(t).Client()
	entries := make([]redis.Z, 2*maxScan+maxScan/2)
	for i := range entries {
		entries[i] = redis.Z{Score: float64(len(entries) - i), Member: fmt.Sprintf("devices/%d", i)}
	}
	rare := []int{7, 2*maxScan + 1, 2*maxScan + 2}
	for _, i := range rare {
		entries[i].Member = fmt.Sprintf("rare/%d", i)
	}
	fill(t, rdb, "app_a", Channels, entries)
	reader := NewReader(rdb, keys, nil)
	cursor := ""
	for i, want := range []int{1, 0, 2} {
		page, err := reader.Top(context.Background(), "app_a", Channels, compile(t, "rare/*"), 100, cursor)
		if err != nil || len(page.Entries) != want || (page.Next == "") != (i == 2) {
			t.Fatalf("page %d: %+v, %v; want %d entries", i, page, err, want)
		}
		cursor = page.Next
	}
	// A page that has filled up on its last match but one is not the last, and it
	// is not followed by an empty one.
	first, err := reader.Top(context.Background(), "app_a", Channels, compile(t, "devices/**"), MaxLimit, "")
	if err != nil || len(first.Entries) != MaxLimit || first.Next == "" {
		t.Errorf("%d entries, next %q, %v", len(first.Entries), first.Next, err)
	}
	if got := read(t, reader, "app_a", Channels, compile(t, "rare/7"), 1); len(got) != 1 {
		t.Errorf("by its name: %v", got)
	}
	if got := read(t, reader, "app_a", Channels, compile(t, "rare/*"), 1); len(got) != len(rare) {
		t.Errorf("one by one: %v", got)
	}
}

// A page is at most 512 KiB, though it be of the longest names, which JSON escapes.
func TestPagesAreBounded(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		entries := make([]redis.Z, MaxLimit)
		for i := range entries {
			entries[i] = redis.Z{Score: 1e15, Member: fmt.Sprintf("%04d", i) + strings.Repeat(`"`, channel.MaxBytes-4)}
		}
		fill(t, rdb, "app_a", Channels, entries)
		reader := NewReader(rdb, keys, nil)
		seen, pages, cursor := map[string]bool{}, 0, ""
		for {
			page, err := reader.Top(context.Background(), "app_a", Channels, nil, MaxLimit, cursor)
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(page.Entries)
			if err != nil || len(text) > 500<<10 {
				t.Errorf("a page of %d bytes, %v", len(text), err)
			}
			for _, e := range page.Entries {
				if seen[e.Name] {
					t.Errorf("%s comes twice", e.Name)
				}
				seen[e.Name] = true
			}
			pages++
			if cursor = page.Next; cursor == "" {
				break
			}
		}
		if len(seen) != MaxLimit || pages != 2 {
			t.Errorf("%d names in %d pages, want %d in 2", len(seen), pages, MaxLimit)
		}
	})
}

func TestLastPageSaysSo(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		fill(t, rdb, "app_a", Channels, []redis.Z{{Score: 1, Member: "a"}, {Score: 1, Member: "b"}})
		for _, pattern := range []string{"**", "*"} {
			page, err := NewReader(rdb, keys, nil).Top(context.Background(), "app_a", Channels, compile(t, pattern), 2, "")
			if err != nil || len(page.Entries) != 2 || page.Next != "" {
				t.Errorf("%s: %+v, %v; want all and no cursor", pattern, page, err)
			}
		}
		page, err := NewReader(rdb, keys, nil).Top(context.Background(), "app_a", Channels, nil, 2, "")
		if err != nil || len(page.Entries) != 2 || page.Next != "" {
			t.Errorf("%+v, %v; want all and no cursor", page, err)
		}
	})
}

// The largest count that a sorted set holds exactly survives its ways into and
// out of scripts and cursors.
func TestLargeCounts(t *testing.T) {
	redistest.Everywhere(t, func(t *testing.T, rdb redis.UniversalClient) {
		const most = 1<<53 - 1
		fill(t, rdb, "app_a", Peers, []redis.Z{{Score: most, Member: "a"}, {Score: most, Member: "b"}, {Score: most - 1, Member: "c"}, {Score: 1e15, Member: "d"}})
		want := []Entry{{"b", most, 0}, {"a", most, 0}, {"c", most - 1, 0}, {"d", 1e15, 0}}
		if got := read(t, NewReader(rdb, keys, nil), "app_a", Peers, nil, 1); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

func TestCursorGoesOnInItsPeriod(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	fill(t, rdb, "app_a", Channels, []redis.Z{{Score: 2, Member: "a"}, {Score: 1, Member: "b"}})
	now := thisPeriod()
	reader := NewReader(rdb, keys, func() time.Time { return now })
	first, err := reader.Top(context.Background(), "app_a", Channels, nil, 1, "")
	if err != nil {
		t.Fatal(err)
	}
	_, now = quota.Period(now)
	second, err := reader.Top(context.Background(), "app_a", Channels, nil, 1, first.Next)
	if err != nil || !slices.Equal(second.Entries, []Entry{{"b", 1, 0}}) {
		t.Errorf("%+v, %v, want b", second, err)
	}
	if fresh, err := reader.Top(context.Background(), "app_a", Channels, nil, 1, ""); err != nil || len(fresh.Entries) != 0 {
		t.Errorf("the new period has %+v, %v", fresh, err)
	}
	// It belongs to an app by who shows it, not by what it says.
	if other, err := reader.Top(context.Background(), "app_b", Channels, nil, 1, first.Next); err != nil || len(other.Entries) != 0 {
		t.Errorf("another app sees %+v, %v", other, err)
	}
}

func TestHostileCursors(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	good := place{Channels, "2026-01", 4031, "devices/a b"}.cursor()
	for name, cursor := range map[string]string{
		"not base64":               "***",
		"padded base64":            good + "=",
		"trailing bits":            encode("channels 2026-01 1 a")[:len(encode("channels 2026-01 1 a"))-1] + "B",
		"nothing":                  encode(" "),
		"three fields":             encode("channels 2026-01 1"),
		"no name":                  encode("channels 2026-01 1 "),
		"another ranking's":        place{Peers, "2026-01", 1, "a"}.cursor(),
		"no ranking's":             encode("} 2026-01 1 a"),
		"no period":                encode("channels 2026-13 1 a"),
		"another key as period":    encode("channels 2026-01:channels:bytes 1 a"),
		"negative count":           encode("channels 2026-01 -1 a"),
		"an interval's end":        encode("channels 2026-01 (1 a"),
		"infinite":                 encode("channels 2026-01 +inf a"),
		"beyond the exact numbers": encode("channels 2026-01 9007199254740992 a"),
		"fraction":                 encode("channels 2026-01 1.5 a"),
		"name too long":            encode("channels 2026-01 1 " + strings.Repeat("a", 257)),
		"huge":                     strings.Repeat("A", 1<<20),
	} {
		page, err := NewReader(rdb, keys, nil).Top(context.Background(), "app_a", Channels, nil, 10, cursor)
		if !errors.Is(err, ErrCursor) {
			t.Errorf("%s: %+v, %v; want ErrCursor", name, page, err)
		}
	}
	// These are well formed, wherever they come from.
	for _, cursor := range []string{
		good,
		place{Channels, "0001-01", 0, "\x00\xff"}.cursor(),
		place{Channels, "2026-01", 1<<53 - 1, strings.Repeat("\xff", 256)}.cursor(),
	} {
		if _, err := NewReader(rdb, keys, nil).Top(context.Background(), "app_a", Channels, nil, 10, cursor); err != nil {
			t.Errorf("%s: %v", cursor, err)
		}
		if len(cursor) > maxCursorBytes {
			t.Errorf("%s has %d bytes, more than the %d that are taken", cursor, len(cursor), maxCursorBytes)
		}
	}
	at, err := parseCursor(Channels, good)
	if want := (place{Channels, "2026-01", 4031, "devices/a b"}); err != nil || at != want {
		t.Errorf("%s is %+v, %v; want %+v", good, at, err, want)
	}
}

func TestLimitBounds(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	for _, limit := range []int{-1, 0, MaxLimit + 1} {
		if _, err := NewReader(rdb, keys, nil).Top(context.Background(), "app_a", Channels, nil, limit, ""); err == nil {
			t.Errorf("a page of %d was read", limit)
		}
	}
}

// How long Redis is busy with one step in the middle of a million equals.
func BenchmarkTop(b *testing.B) {
	rdb := redistest.Start(b).Client()
	entries := make([]redis.Z, 1_000_000)
	for i := range entries {
		entries[i] = redis.Z{Score: 1, Member: fmt.Sprintf("devices/camera-%06d/events", i)}
	}
	fill(b, rdb, "app_a", Channels, entries)
	reader := NewReader(rdb, keys, nil)
	start, _ := quota.Period(thisPeriod())
	cursor := place{Channels, periodName(start), 1, "devices/camera-500000/events"}.cursor()
	b.Run("page of 100", func(b *testing.B) {
		for b.Loop() {
			if page, err := reader.Top(context.Background(), "app_a", Channels, nil, 100, cursor); err != nil || len(page.Entries) != 100 {
				b.Fatal(err)
			}
		}
	})
	pattern := compile(b, "none/**")
	b.Run("no match", func(b *testing.B) {
		for b.Loop() {
			if _, err := reader.Top(context.Background(), "app_a", Channels, pattern, 100, cursor); err != nil {
				b.Fatal(err)
			}
		}
	})
}
