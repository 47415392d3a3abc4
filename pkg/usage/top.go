package usage

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
)

// The most entries of a page, and how many it has by default.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

const (
	// A page with a pattern looks at most at so many entries, in steps of so
	// many, each a few tenths of a millisecond of Redis's time.
	maxScan  = 10_000
	scanStep = 1000
	// A page is at most 512 KiB of JSON, with what is around its entries.
	pageBytes = 500 << 10
	// perEntry is more than JSON takes for an entry beside its name.
	perEntry = 80
)

var (
	//go:embed top.lua
	topLua    string
	topScript = redisconn.NewScript(topLua)
)

// Entry is what one channel or peer cost.
type Entry struct {
	Name      string
	Published int64 // messages accepted
	Bytes     int64 // of their data
}

// Page is a part of a ranking, largest first.
type Page struct {
	// Entries may be fewer than asked for, or none, with more to come: a page
	// also ends when many entries did not match the pattern, or with 512 KiB.
	Entries []Entry
	// Other is the sum of all names outside the ranking, which has the MaxNames
	// largest. The pattern does not narrow it. It has no name.
	Other Entry
	// Next is the cursor of the next page, "" on the last.
	Next string
}

// Top reads a page of what the app's channels or peers have cost in the running
// period, largest first, and by name, descending, among equals. pattern selects
// names, nil all. limit is 1–MaxLimit. cursor is the Next of the page before, ""
// for the first page.
//
// While nothing changes, the pages together hold each entry once. While messages
// are counted, one that has moved up past the cursor is not seen, and none comes
// twice, unless it fell out of a full ranking in between and is back. A cursor belongs to the period it comes from, and goes on in that period
// when the next has begun.
//
// The error is ErrCursor, or about Redis.
func (r *Reader) Top(ctx context.Context, appID string, kind Kind, pattern *channel.Pattern, limit int, cursor string) (Page, error) {
	if limit < 1 || limit > MaxLimit {
		return Page{}, fmt.Errorf("a page of %d entries: it must have 1 to %d", limit, MaxLimit)
	}
	start, _ := quota.Period(r.now())
	at := place{kind: kind, period: periodName(start)}
	if cursor != "" {
		var err error
		if at, err = parseCursor(kind, cursor); err != nil {
			return Page{}, err
		}
	}
	ranking := r.keys.Usage(appID, at.period, string(kind))
	page, err := r.find(ctx, ranking, pattern, limit, at)
	if err == nil {
		err = r.readBytes(ctx, r.keys.UsageBytes(appID, at.period, string(kind)), page.Entries)
	}
	if err == nil {
		page.Other, err = r.other(ctx, r.keys.UsageOther(appID, at.period, string(kind)))
	}
	if err != nil {
		return Page{}, fmt.Errorf("read the usage by %s of app %s: %w", kind, appID, err)
	}
	return page, nil
}

// find reads a page without the bytes.
func (r *Reader) find(ctx context.Context, ranking string, pattern *channel.Pattern, limit int, at place) (Page, error) {
	if at.name == "" && isOneName(pattern) {
		return r.findOne(ctx, ranking, pattern.String())
	}
	// One entry more than the page holds tells whether there is another page.
	step := limit + 1
	if pattern != nil {
		step = scanStep
	}
	var page Page
	size := 0
	for range maxScan / scanStep {
		entries, err := r.next(ctx, ranking, at, step)
		if err != nil {
			return Page{}, err
		}
		for _, e := range entries {
			if pattern == nil || pattern.Match(e.Name) {
				size += perEntry + 2*len(e.Name) // quotes and backslashes take two bytes
				if n := len(page.Entries); n == limit || size > pageBytes {
					page.Next = at.after(page.Entries[n-1]).cursor()
					return page, nil
				}
				page.Entries = append(page.Entries, e)
			}
		}
		if len(entries) < step {
			return page, nil
		}
		at = at.after(entries[step-1])
	}
	page.Next = at.cursor()
	return page, nil
}

// isOneName says whether the pattern matches its own spelling and nothing else.
// With a backslash in it there may be two.
func isOneName(pattern *channel.Pattern) bool {
	return pattern != nil && !channel.IsPattern(pattern.String()) && !strings.Contains(pattern.String(), `\`)
}

func (r *Reader) findOne(ctx context.Context, ranking, name string) (Page, error) {
	published, err := r.rdb.ZScore(ctx, ranking, name).Result()
	if errors.Is(err, redis.Nil) {
		return Page{}, nil
	}
	if err != nil {
		return Page{}, err
	}
	return Page{Entries: []Entry{{Name: name, Published: int64(published)}}}, nil
}

// next reads the n entries that come after the place, fewer at the end.
func (r *Reader) next(ctx context.Context, ranking string, at place, n int) ([]Entry, error) {
	args := []any{n}
	if at.name != "" {
		args = append(args, at.published, at.name)
	}
	call := &redisconn.Call{Script: topScript, Keys: []string{ranking}, Args: args}
	if err := redisconn.Exec(ctx, r.rdb, []*redisconn.Call{call}); err != nil {
		return nil, err
	}
	texts, err := call.Reply.StringSlice()
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(texts)/2)
	for i := range entries {
		published, err := strconv.ParseFloat(texts[2*i+1], 64)
		if err != nil {
			return nil, err
		}
		entries[i] = Entry{Name: texts[2*i], Published: int64(published)}
	}
	return entries, nil
}

// other reads what names outside of the ranking have.
func (r *Reader) other(ctx context.Context, key string) (e Entry, err error) {
	var of struct {
		Published int64 `redis:"published"`
		Bytes     int64 `redis:"bytes"`
	}
	err = r.rdb.HMGet(ctx, key, "published", "bytes").Scan(&of)
	return Entry{Published: of.Published, Bytes: of.Bytes}, err
}

// readBytes fills in the bytes of the entries.
func (r *Reader) readBytes(ctx context.Context, key string, entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	names := make([]string, len(entries))
	for i := range entries {
		names[i] = entries[i].Name
	}
	values, err := r.rdb.HMGet(ctx, key, names...).Result()
	if err != nil {
		return err
	}
	for i, value := range values {
		text, ok := value.(string)
		if !ok {
			continue // counted by a recorder, but gone since: the keys have expired in between
		}
		if entries[i].Bytes, err = strconv.ParseInt(text, 10, 64); err != nil {
			return err
		}
	}
	return nil
}
