package send

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/envelope"
	"fleetwire/pkg/group"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// On a Redis Cluster a message is admitted in its app's slot (publish.lua, with admitted.lua),
// and then published in its channel's slot (spread.lua, or deliver.lua). A message whose publishing is not
// answered is not sent again: its outcome is unknown. What was admitted, and certainly not
// published, is taken off the app's count.

var (
	//go:embed admitted.lua
	admittedLua string
	//go:embed in_time.lua
	inTimeLua string
	//go:embed deliver.lua
	deliverLua string

	admitScript   = redisconn.NewScript(waitingLua + quota.BucketLua + admitLua + sendFunction(admittedLua) + publishLua)
	deliverScript = redisconn.NewScript(rediskeys.WildcardsLua + "local over = {}\n" + waitingLua + sendFunction(specialLua) + inTimeLua + deliverLua)
)

// A delivery that came to another node than it was meant for goes out again after a pause, so
// often: its slot has moved, or its master has failed over.
const (
	maxDeliveries = 10
	movedPause    = 10 * time.Millisecond
)

var errMoved = errors.New("the messages' slot went from one redis node to another again and again, so none published them")

// delivery is the admitted messages of one bucket.
type delivery struct {
	of       *sending
	bucket   rediskeys.Bucket
	messages []*Outgoing
	special  bool

	waiting *group.Batch
	clock   *clock
	call    *redisconn.Call
	reply   []any
	counts  countCalls
	settled bool
	err     error // why not everything was done

	tried bool // in a spread
}

// deliver publishes what was admitted. The error says whether Redis has answered.
func (sender *Sender) deliver(ctx context.Context, deadline time.Time, all []*sending) (answered error) {
	open := sender.deliveries(all)
	for try := 0; len(open) > 0 && time.Now().Before(deadline) && try < maxDeliveries; try++ {
		if try > 1 {
			time.Sleep(movedPause)
		}
		if err := sender.publish(ctx, deadline, open); err != nil {
			answered = err
		}
		open = slices.DeleteFunc(open, func(d *delivery) bool {
			if d.settled {
				d.of.err = cmp.Or(d.of.err, d.err)
			}
			return d.settled
		})
	}
	for _, d := range open {
		d.of.err = cmp.Or(d.of.err, d.err, errLate)
	}
	return answered
}

// deliveries sorts admitted messages by bucket, in order. A message that is over the cap, or has
// no room in its groups, goes along if it may repeat another message, or have a condition that
// does not hold.
func (sender *Sender) deliveries(all []*sending) (open []*delivery) {
	of := map[rediskeys.Bucket]*delivery{}
	for _, s := range all {
		for _, o := range s.Messages {
			if !o.admitted && !((o.OverCap || o.Full) && o.asks()) {
				continue
			}
			b := sender.keys.Bucket(o.app, o.name)
			d := of[b]
			if d == nil {
				d = &delivery{of: s, bucket: b}
				of[b] = d
				open = append(open, d)
			}
			d.messages, d.special = append(d.messages, o), d.special || o.special()
		}
	}
	return open
}

// publish makes one round trip to all masters.
func (sender *Sender) publish(ctx context.Context, deadline time.Time, open []*delivery) (answered error) {
	keys := make([]string, len(open))
	for i, d := range open {
		keys[i] = d.bucket.Wildcards(rediskeys.Messages)
	}
	clocks, errs := sender.mastersOf(ctx, keys)
	var calls []*redisconn.Call
	var sent []*delivery
	for i, d := range open {
		if d.err = errs[i]; d.err != nil {
			d.settled, answered = true, cmp.Or(answered, d.err)
			sender.observeAt(keys[i], d.err)
			continue
		}
		d.clock = clocks[i]
		sent = append(sent, d)
	}
	if len(sent) == 0 {
		return answered
	}
	shared, alone := spreads(sent)
	for _, s := range shared {
		sender.prepareSpread(s, deadline)
		calls = append(calls, s.call)
	}
	for _, d := range alone {
		sender.prepareDelivery(d, deadline)
		calls = append(calls, d.call)
	}
	for _, d := range sent {
		d.counts = sender.subscribersCalls(counting(d.messages))
		calls = append(calls, d.counts.calls...)
	}
	before := time.Now()
	answered = cmp.Or(answered, redisconn.Exec(ctx, sender.redis, calls))
	received := time.Now()
	for _, s := range shared {
		s.read()
	}
	for _, d := range alone {
		d.reply, d.err = d.call.Reply.Slice()
	}
	for _, d := range sent {
		shown, notes, replied := d.read()
		if !replied {
			sender.observeAt(string(d.bucket), d.err)
			continue
		}
		if errors.Is(d.err, errMoved) {
			continue
		}
		d.clock.learn(before, received, shown)
		sender.heed(ctx, d.of, d.waiting, notes, d.bucket, before)
		if !d.settled && d.clock.deadline(deadline) <= shown {
			d.settled = true // late by a clock that is known well
		}
		d.counts.read(counting(d.messages))
	}
	return answered
}

// prepareDelivery makes the call.
func (sender *Sender) prepareDelivery(d *delivery, deadline time.Time) {
	keys := append(make([]string, 0, 4), d.bucket.Wildcards(rediskeys.Messages))
	args := append(make([]any, 0, 3+2*len(d.messages)), d.clock.deadline(deadline), d.clock.node, "")
	if d.special {
		which := strconv.Itoa(len(d.messages))
		for i, o := range d.messages {
			if !o.admitted {
				which += " " + strconv.Itoa(i+1)
			}
		}
		if w := waiting(d.of.app, d.messages); w != nil {
			which += " g" + strconv.Itoa(w.Len())
			args = w.AppendArgs(args, sender.keys, d.of.over)
			d.waiting = w
		}
		args[2] = which
		keys, args = sender.appendSpecial(d.of.App, d.messages, d.bucket, keys, args)
	} else {
		for _, o := range d.messages {
			args = append(args, o.topic, o.payload)
		}
	}
	d.call = &redisconn.Call{Script: deliverScript, Keys: keys, Args: args}
}

// read reads what became of the delivery.
func (d *delivery) read() (shown int64, notes []note, replied bool) {
	reply, err := d.reply, d.err
	if err == nil && (len(reply) < 2 || number(reply[0]) == batchRan && len(reply) < 2+len(d.messages)) {
		err = fmt.Errorf("deliver.lua returned %d values for %d messages", len(reply), len(d.messages))
	}
	if err != nil {
		d.err, d.settled = err, true
		d.unknown(!redisconn.Undone(err))
		return 0, nil, false
	}
	shown = number(reply[1])
	switch number(reply[0]) {
	case batchRan:
		outcomes, extra := reply[2:2+len(d.messages)], reply[2+len(d.messages):]
		unknown, err := fill(d.messages, outcomes)
		d.err, d.settled = err, true
		d.unknown(unknown)
		for _, o := range d.messages {
			o.OverCap = o.OverCap && !o.Full
			if o.Accepted && o.kind != envelope.KindPeer {
				o.nodes = 1 // their subscribers are counted from what nodes write
			}
		}
		notes = notice(d.messages, extra)
	case batchLate:
		d.err = errLate
	case batchElsewhere:
		d.err = errMoved
	default: // this was another node; it asks which
		d.clock.known, d.err = false, errMoved
	}
	return shown, notes, true
}

func (d *delivery) unknown(is bool) {
	for _, o := range d.messages {
		o.Unknown = is && o.admitted
	}
}

// giveBack takes what was admitted and not published off the counts. If that fails, an app
// has fewer messages than its cap allows, and never more.
func (sender *Sender) giveBack(ctx context.Context, all []*sending) {
	var calls []*redisconn.Call
	for _, s := range all {
		n := 0
		for _, o := range s.Messages {
			refused := o.admitted && !o.Accepted && !o.Unknown
			// One that had no room was not counted.
			if refused || (o.Repeated || o.Conflict || o.Mismatch) && !o.Full {
				n++
			}
			if o.admitted && (refused || o.Repeated || o.Conflict || o.Mismatch) {
				s.freed = append(s.freed, o.freed(sender.keys)...)
			}
		}
		calls = append(calls, group.TakeOff(sender.keys, s.freed...)...)
		if n > 0 {
			calls = append(calls, s.Counter.GiveBackCall(n))
		}
	}
	if len(calls) > 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		_ = redisconn.Exec(ctx, sender.redis, calls)
	}
}

// findMasters finds the clocks of the masters that admit the batches. Batches whose master
// does not answer fail alone, unless all do.
func (sender *Sender) findMasters(ctx context.Context, all []*sending) error {
	keys := make([]string, len(all))
	for i, s := range all {
		keys[i] = s.Counter.Key
	}
	clocks, errs := sender.mastersOf(ctx, keys)
	for i, s := range all {
		s.clock, s.err = clocks[i], errs[i]
		s.settled = s.err != nil
		sender.observeAt(keys[i], s.err)
	}
	if len(all) > 0 && len(unsettled(all)) == 0 {
		return all[0].err
	}
	return nil
}

// mastersOf are the clocks of the masters of keys' slots. Those that are not known are asked,
// all at the same time.
func (sender *Sender) mastersOf(ctx context.Context, keys []string) ([]*clock, []error) {
	if sender.clocks == nil || len(sender.clocks) > 1000 { // not below: each master that is asked needs its clock
		sender.clocks = map[*redis.Client]*clock{}
	}
	clocks, errs := make([]*clock, len(keys)), make([]error, len(keys))
	masters := make([]*redis.Client, len(keys))
	asking := map[*redis.Client]error{}
	for i, key := range keys {
		if masters[i], errs[i] = sender.cluster.MasterForKey(ctx, key); errs[i] != nil {
			continue
		}
		clocks[i] = sender.clockOf(masters[i])
		if !clocks[i].isKnown() {
			asking[masters[i]] = nil
		}
	}
	if len(asking) == 0 {
		return clocks, errs
	}
	if deadline, ok := ctx.Deadline(); ok { // one that hangs must leave the others time
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/2)
		defer cancel()
	}
	var mu sync.Mutex
	var done sync.WaitGroup
	for _, master := range slices.Collect(maps.Keys(asking)) {
		c := sender.clocks[master]
		done.Go(func() {
			_, err := c.ask(ctx, master)
			mu.Lock()
			asking[master] = err
			mu.Unlock()
		})
	}
	done.Wait()
	sender.epochs.Forget()
	for i, master := range masters {
		errs[i] = cmp.Or(errs[i], asking[master])
		if errs[i] != nil {
			sender.cluster.ReloadState(ctx) // another may be the master by now
		}
	}
	return clocks, errs
}

// clockOf is the clock of a node.
func (sender *Sender) clockOf(node *redis.Client) *clock {
	c := sender.clocks[node]
	if c == nil {
		c = &clock{ofNode: true}
		node.AddHook(c)
		sender.clocks[node] = c
	}
	return c
}
