package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/chaos/internal/books"
	"fleetwire/chaos/internal/plan"
	"fleetwire/clients/go/client"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Inject has a fault hit an ingester, a sink's endpoint or a group. lift ends the fault.
func (f *Fleet) Inject(step plan.Step) (lift func(), found []books.Finding, err error) {
	i := f.ingesters[int(step.Pick)%len(f.ingesters)]
	switch step.Fault.Name {
	case "ingester-killed":
		i.kill()
		return i.start, nil, nil
	case "ingester-paused":
		i.gate.pause()
		return i.gate.resume, nil, nil
	case "sink-killed":
		f.hook.kill()
		return func() {
			if err := f.hook.start(); err != nil {
				f.hook.found(err)
			}
		}, nil, nil
	case "sink-slow":
		f.hook.setSlow(true)
		return func() { f.hook.setSlow(false) }, nil, nil
	case "group-full":
		found, err = f.fillAndDrain()
		return func() {}, found, err
	default:
		return nil, nil, fmt.Errorf("the fleet does not make the fault %s", step.Fault.Name)
	}
}

// waiting is what GET /v1/groups/{group} says.
type waiting struct{ Lag, Pending, Dead, Bytes int64 }

func groupState(ctx context.Context, rest *client.REST, group string) (w waiting, err error) {
	err = call(ctx, rest, http.MethodGet, "/groups/"+group, nil, &w)
	return w, err
}

// Ingested waits until all that waits for groups is delivered, records dead letters, deletes them,
// and then compares what the groups say of themselves with what Redis has. It returns how long
// ingesters took. hasten has nodes look at once at counts that are off, as a short run does not last
// until they do.
func (f *Fleet) Ingested(rdb redis.UniversalClient, patience time.Duration, hasten bool) (took time.Duration, found []books.Finding, err error) {
	begin := time.Now()
	groups := []*drain{{f, ingestGroup, f.group, rdb}}
	if f.Size.Hook {
		groups = append(groups, &drain{f, hookGroup, f.hook.group, rdb})
	}
	for _, g := range groups {
		of, err := g.run(patience, hasten)
		found = append(found, of...)
		if err != nil {
			return took, found, err
		}
		if took == 0 {
			took = time.Since(begin)
		}
	}
	return took, append(found, f.hook.findings()...), nil
}

// drain sees a group empty.
type drain struct {
	*Fleet
	group string
	books *books.Group
	rdb   redis.UniversalClient
}

func (f *drain) run(patience time.Duration, hasten bool) (found []books.Finding, err error) {
	ctx, cancel := context.WithTimeout(f.ctx, patience)
	defer cancel()
	await := func(what string, done func(waiting) bool) {
		for {
			w, err := groupState(ctx, f.rest, f.group)
			switch {
			case err == nil && done(w):
				return
			case ctx.Err() != nil:
				found = append(found, books.Finding{Kind: books.Stuck, At: time.Now(), Text: fmt.Sprintf("%s after %v: the group has %+v (%v)", what, patience, w, err)})
				return
			case err == nil && hasten:
				_ = f.look(ctx) // it is tried again
			}
			pause(ctx, tryAgain)
		}
	}
	await("not all messages are acknowledged", func(w waiting) bool { return w.Lag+w.Pending == 0 })
	dead, err := f.bury(f.ctx)
	if err != nil {
		return found, err
	}
	found = append(found, f.audit(dead, false)...)
	var deleted struct{ Deleted int }
	if err := call(f.ctx, f.rest, http.MethodDelete, "/groups/"+f.group+"/dead", nil, &deleted); err != nil {
		return found, err
	}
	if deleted.Deleted != dead {
		found = append(found, books.Finding{Kind: books.Miscount, At: time.Now(), Text: fmt.Sprintf("%d dead letters were listed, and %d deleted", dead, deleted.Deleted)})
	}
	await("the counts of the group are not right", func(w waiting) bool {
		return w == waiting{} && len(f.audit(0, true)) == 0
	})
	return append(found, f.audit(0, true)...), nil
}

// bury has the books know the dead letters, and says how many there are.
func (f *drain) bury(ctx context.Context) (n int, err error) {
	cursor := ""
	for {
		var page struct {
			Messages []struct {
				Channel, From, Reason string
				Data                  json.RawMessage
				Attempts              int
			}
			Cursor *string
		}
		if err := call(ctx, f.rest, http.MethodGet, "/groups/"+f.group+"/dead?cursor="+cursor, nil, &page); err != nil {
			return n, err
		}
		var letters []books.Buried
		for _, m := range page.Messages {
			of := read(client.Message{Data: m.Data, From: m.From})
			letters = append(letters, books.Buried{Writer: of.Writer, Channel: m.Channel, N: of.N, Attempts: m.Attempts, Reason: m.Reason})
		}
		f.books.Buried(letters)
		n += len(letters)
		if page.Cursor == nil {
			return n, nil
		}
		cursor = *page.Cursor
	}
}

// kept is what Redis has of a group in one bucket.
type kept struct {
	bucket                        rediskeys.Bucket
	stream, dead, leases, delayed int64
	bytes                         int64
	counted                       int64 // as the group's count says
}

// keep reads what Redis has of the group, in the buckets that have something.
func (f *drain) keep(ctx context.Context) (all []kept, total int64, err error) {
	counts, err := f.rdb.HGetAll(ctx, keys.GroupBytes(mainApp, f.group)).Result()
	if err != nil {
		return nil, 0, err
	}
	total = number(counts["all"])
	p := f.rdb.Pipeline()
	type asked struct {
		rediskeys.Bucket
		stream, dead, leases, delayed *redis.IntCmd
		bytes                         *redis.StringCmd
	}
	var ask []asked
	for b := range keys.Buckets(mainApp) {
		ask = append(ask, asked{b, p.XLen(ctx, b.Group(f.group)), p.XLen(ctx, b.GroupDead(f.group)),
			p.ZCard(ctx, b.GroupLeases(f.group)), p.ZCard(ctx, b.GroupDelayed(f.group)), p.HGet(ctx, b.GroupState(f.group), "bytes")})
	}
	if _, err := p.Exec(ctx); err != nil && err != redis.Nil { //nolint:errorlint // Exec returns the error of a command as it is
		return nil, 0, err
	}
	for _, a := range ask {
		k := kept{a.Bucket, a.stream.Val(), a.dead.Val(), a.leases.Val(), a.delayed.Val(), number(a.bytes.Val()), number(counts[a.Tag()])}
		if k != (kept{bucket: a.Bucket}) {
			all = append(all, k)
		}
	}
	return all, total, nil
}

func number(text string) (n int64) {
	_, _ = fmt.Sscan(text, &n)
	return n
}

// keys are those of the nodes.
var keys = func() rediskeys.Namespace {
	k, err := rediskeys.New("fw", 0)
	if err != nil {
		panic(err) // the name is the default
	}
	return k
}()

// audit compares what the counts say with the streams, when nothing but so many dead letters is
// there. counts: they must be right, which takes nodes up to a minute.
func (f *drain) audit(dead int, counts bool) (found []books.Finding) {
	add := func(format string, args ...any) {
		found = append(found, books.Finding{Kind: books.Miscount, At: time.Now(), Text: "the group " + f.group + " in Redis: " + fmt.Sprintf(format, args...)})
	}
	all, total, err := f.keep(f.ctx)
	if err != nil {
		add("%v", err)
		return found
	}
	var sum, buried int64
	for _, k := range all {
		sum, buried = sum+k.bytes, buried+k.dead
		if k.stream != 0 || k.leases != 0 || k.delayed != 0 {
			add("%s has %d messages, %d leases and %d that are refused, and nothing waits", k.bucket, k.stream, k.leases, k.delayed)
		}
		if counts && (k.bytes != 0 || k.counted != 0) {
			add("%s counts %d bytes, the group counts %d for it, and nothing is there", k.bucket, k.bytes, k.counted)
		}
	}
	if buried != int64(dead) {
		add("%d dead letters, and %d were listed", buried, dead)
	}
	if counts && (total != 0 || sum != 0) {
		add("it counts %d bytes, its buckets %d, and nothing is there", total, sum)
	}
	return found
}

// look has nodes look now at the buckets whose counts are off. They do so by themselves within a
// minute.
func (f *drain) look(ctx context.Context) error {
	all, _, err := f.keep(ctx)
	if err != nil {
		return err
	}
	var sets []deadline.Set
	for _, k := range all {
		if k.counted == k.bytes {
			continue
		}
		if err := f.rdb.ZAddLT(ctx, k.bucket.Due(string(deadline.Groups)), redis.Z{Score: float64(time.Now().UnixMilli()), Member: f.group}).Err(); err != nil {
			return err
		}
		sets = append(sets, deadline.Set{Kind: deadline.Groups, Bucket: k.bucket})
	}
	if len(sets) == 0 {
		return nil
	}
	return redisconn.Exec(ctx, f.rdb, []*redisconn.Call{deadline.Touch(keys, sets...)})
}
