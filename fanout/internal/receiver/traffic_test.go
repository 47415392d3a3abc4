package receiver_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/channel"
	"fleetwire/pkg/envelope"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
)

// traffic publishes numbered messages to channels in many buckets while something happens
// to the cluster, and keeps what Redis has taken.
type traffic struct {
	t     *testing.T
	redis redis.UniversalClient
	stop  chan struct{}
	all   sync.WaitGroup

	mu    sync.Mutex
	acked map[string][]uint64
	last  uint64
	// hung: messages up to this number may come in late, or once more. A master answers before
	// it tells its replica of a message, so one that hung in between tells it when it wakes up.
	hung uint64
}

const (
	trafficChannels = 48
	quick           = 200 * time.Millisecond
)

func trafficChannel(i int) string { return fmt.Sprint("t/", i) }

// carry has a node subscribe to the channels of traffic, to every other one by wildcard
// alone.
func carry(t *testing.T, p *process) {
	t.Helper()
	answers := make(chan error, trafficChannels/2+1)
	done := func(err error) { answers <- err }
	for i := 0; i < trafficChannels; i += 2 {
		if err := p.SetSubscribers("app", trafficChannel(i), 1, done); err != nil {
			t.Fatal(err)
		}
	}
	pattern, _ := channel.Compile("t/*")
	if err := p.AddPattern("app", pattern, done); err != nil {
		t.Fatal(err)
	}
	for range trafficChannels/2 + 1 {
		if err := answered(t, answers); err != nil {
			t.Fatal(err)
		}
	}
}

func startTraffic(t *testing.T, cluster *redistest.Cluster) *traffic {
	var addresses []string
	for _, s := range cluster.Nodes {
		addresses = append(addresses, s.Addr())
	}
	rdb := redisconn.NewCluster(&redis.ClusterOptions{
		Addrs: addresses, Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true,
		DialTimeout: quick, ReadTimeout: quick, WriteTimeout: quick, // as it waits for one that hangs, too
	})
	t.Cleanup(func() { _ = rdb.Close() })
	tr := &traffic{t: t, redis: rdb, stop: make(chan struct{}), acked: map[string][]uint64{}}
	for worker := range 4 {
		tr.all.Go(func() {
			for i := worker; ; i = (i + 4) % trafficChannels {
				select {
				case <-tr.stop:
					return
				default:
					tr.publish(trafficChannel(i))
				}
			}
		})
	}
	t.Cleanup(tr.end)
	return tr
}

// publish publishes one message as the scripts do: to the channel's topic, and to that of all
// channels of the bucket while a node wants it.
func (tr *traffic) publish(name string) {
	tr.mu.Lock()
	tr.last++
	number := tr.last
	tr.mu.Unlock()
	ctx, cancel := context.WithTimeout(redisconn.Alone(context.Background()), quick)
	defer cancel()
	if publishSharded(ctx, tr.redis, name, number) == nil {
		tr.mu.Lock()
		tr.acked[name] = append(tr.acked[name], number)
		tr.mu.Unlock()
	}
}

var publishTwice = redis.NewScript(`
redis.call('SPUBLISH', ARGV[1], ARGV[3])
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('SPUBLISH', ARGV[2], ARGV[4] .. '\n' .. ARGV[3])
end
return redis.call('SET', KEYS[2], 1)
`)

func publishSharded(ctx context.Context, rdb redis.UniversalClient, name string, number uint64) error {
	var keys rediskeys.Namespace
	b := keys.Bucket("app", name)
	message := envelope.Encode(envelope.ID{Process: 7, Sequence: number}, &envelope.Message{Channel: name, From: "p", Data: []byte("1")})
	return publishTwice.Eval(ctx, rdb, []string{b.Wildcards(envelope.KindMessages), string(b) + "proof"},
		keys.Topic(envelope.KindMessages, "app", name), keys.AllTopic(b, envelope.KindMessages), message, name).Err()
}

func (tr *traffic) end() {
	select {
	case <-tr.stop:
	default:
		close(tr.stop)
	}
	tr.all.Wait()
}

// wait waits until so many more messages have been taken on each channel.
func (tr *traffic) wait(more int) {
	tr.t.Helper()
	before := map[string]int{}
	tr.mu.Lock()
	for name, numbers := range tr.acked {
		before[name] = len(numbers)
	}
	tr.mu.Unlock()
	redistest.Eventually(tr.t, 3*gone, "messages are taken on all channels", func() bool {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		for i := range trafficChannels {
			if len(tr.acked[trafficChannel(i)]) < before[trafficChannel(i)]+more {
				return false
			}
		}
		return true
	})
}

// comeIn waits until what is published from now on comes in on all channels.
func (tr *traffic) comeIn(p *process, left *redistest.Budget) {
	tr.t.Helper()
	from := tr.now()
	left.Await(tr.t, "messages come in on all channels again", func() bool {
		for i := range trafficChannels {
			numbers := p.numbers(trafficChannel(i))
			if len(numbers) == 0 || slices.Max(numbers) <= from {
				return false
			}
		}
		return true
	})
}

// now is the number of the last message so far.
func (tr *traffic) now() uint64 {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.last
}

// check wants everything that was taken at the nodes, once and in order, but for what was
// published to the channels that may lose between the numbers from and to.
func (tr *traffic) check(from, to uint64, mayLose func(name string) bool, nodes ...*process) (lost int) {
	tr.t.Helper()
	tr.end()
	for _, p := range nodes {
		for i := range trafficChannels {
			name := trafficChannel(i)
			acked := slices.Sorted(slices.Values(tr.acked[name]))
			last := acked[len(acked)-1]
			redistest.Eventually(tr.t, gone, "the last message comes in", func() bool { return slices.Contains(p.numbers(name), last) })
			got := p.numbers(name)
			inTime := slices.DeleteFunc(slices.Clone(got), func(number uint64) bool { return number <= tr.hung })
			// One without an answer may be with a master that hangs, which publishes it when it
			// wakes up.
			answered := slices.DeleteFunc(slices.Clone(inTime), func(number uint64) bool { return !slices.Contains(acked, number) })
			if !slices.IsSorted(answered) {
				tr.t.Errorf("%s came in out of order", name)
			}
			slices.Sort(inTime)
			if len(slices.Compact(slices.Clone(inTime))) != len(inTime) {
				tr.t.Errorf("%s: a message came in twice", name)
			}
			slices.Sort(got)
			for _, number := range acked {
				if _, found := slices.BinarySearch(got, number); found {
					continue
				}
				lost++
				if !mayLose(name) || number < from || number > to {
					tr.t.Errorf("%s: message %d was taken and did not come in; what happened was between %d and %d", name, number, from, to)
				}
			}
		}
	}
	return lost
}

// numbers are those of the messages of a channel that came in.
func (p *process) numbers(name string) []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.sequences[name])
}
