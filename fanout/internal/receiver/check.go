package receiver

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/rediskeys"
)

const (
	// checkPatience bounds Check.
	checkPatience = 2500 * time.Millisecond
	// formPatience bounds it while a cluster forms.
	formPatience = 10 * time.Second
	// checkRetry is the pause before a Redis that begins to serve is asked again.
	checkRetry = 100 * time.Millisecond
	// leastRedis is the oldest version of Redis that will do: an older 7.0 hangs in
	// matching some patterns (CVE-2022-36021). Valkey began at 7.2.5.
	leastRedis = "7.0.9"
)

// Check does once, before anything relies on Redis, what a node does with it:
// subscribe, write, run a script, publish, and receive what was published; on a cluster, at
// every master. It takes 2.5 s at most, and 10 s while the nodes of a cluster wait for each
// other. The error has Redis's own words.
func Check(ctx context.Context, rdb redis.UniversalClient, keys rediskeys.Namespace) error {
	begun, patience := time.Now(), checkPatience
	var begins error // Redis is about to serve
	for {
		trying, cancel := context.WithTimeout(ctx, min(checkPatience, patience-time.Since(begun)))
		err := checkAll(trying, rdb, keys, "start-"+strings.ToLower(rand.Text()))
		cancel()
		var reply redis.Error
		switch {
		case err == nil:
			return nil
		case redis.HasErrorPrefix(err, "LOADING"):
			begins = err
		case forms(err):
			begins, patience = err, formPatience
		case begins != nil && !errors.As(err, &reply):
			return begins // it may answer too late
		default:
			return err
		}
		if time.Since(begun)+checkRetry >= patience {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(checkRetry):
		}
	}
}

// forms says whether an error is that of a cluster that has just been made, or has started
// again: its nodes wait for each other, for some 2 s at least.
func forms(err error) bool {
	return redis.HasErrorPrefix(err, "CLUSTERDOWN") || errors.Is(err, errUncovered)
}

func checkAll(ctx context.Context, rdb redis.UniversalClient, keys rediskeys.Namespace, node string) error {
	if client, ok := rdb.(*redis.ClusterClient); ok {
		return checkCluster(ctx, client, keys, node)
	}
	return check(ctx, rdb, placeOnServer(keys, node))
}

// checkCluster checks all masters at the same time.
func checkCluster(ctx context.Context, client *redis.ClusterClient, keys rediskeys.Namespace, node string) error {
	var asking sync.WaitGroup
	nodes := map[string]*clusterNode{}
	defer func() {
		asking.Wait()
		for _, n := range nodes {
			_ = n.client.Close()
		}
	}()
	know(nodes, client, client.Options().Addrs)
	t, err := ask(ctx, nodes, &asking)
	if err != nil {
		return err
	}
	masters := t.slotOfEach()
	errs := make(chan error, len(masters))
	for addr, slot := range masters {
		know(nodes, client, []string{addr})
		rdb := nodes[addr].client
		go func() {
			err := check(ctx, rdb, placeOnMaster(keys, node, slot))
			if err != nil {
				err = fmt.Errorf("master %s: %w", addr, err)
			}
			errs <- err
		}()
	}
	for range masters {
		err = cmp.Or(err, <-errs)
	}
	if err == nil && !t.covered() {
		err = errUncovered
	}
	return err
}

func check(ctx context.Context, rdb redis.UniversalClient, at *probePlace) error {
	if err := checkVersion(ctx, rdb); err != nil {
		return err
	}
	const number = 1
	probe := newProber(rdb, at)
	if _, err := probe.send(ctx, at, number); err != nil {
		return err // its words are the clearest if Redis does nothing for us
	}
	pubsub := rdb.Subscribe(ctx)
	defer func() { _ = pubsub.Close() }()
	subscribe := pubsub.Subscribe
	if at.sharded {
		subscribe = pubsub.SSubscribe
	}
	if err := subscribe(ctx, at.topic); err != nil {
		return err
	}
	if _, err := pubsub.ReceiveTimeout(ctx, checkPatience); err != nil { // the confirmation
		return err
	}
	if _, err := probe.send(ctx, at, number); err != nil {
		return err
	}
	received, err := pubsub.ReceiveTimeout(ctx, checkPatience)
	if err != nil {
		return fmt.Errorf("redis took a message to publish and did not deliver it: %w", err)
	}
	if m, ok := received.(*redis.Message); !ok || m.Payload != strconv.Itoa(number) {
		return fmt.Errorf("redis was to deliver the message %d and delivered %v", number, received)
	}
	return nil
}

// checkVersion asks with HELLO, which every user may call.
func checkVersion(ctx context.Context, rdb redis.UniversalClient) error {
	reply, err := rdb.Do(ctx, "HELLO", "2").Result()
	if err != nil {
		return err
	}
	least, _ := numbers(leastRedis)
	version := helloVersion(reply)
	if is, ok := numbers(version); ok && slices.Compare(is, least) < 0 {
		return errors.New("this Redis is version " + version + "; Fleetwire needs " + leastRedis + " or later, or Valkey (older versions hang on some patterns: CVE-2022-36021)")
	}
	return nil // a server that says no number is compatible, or is refused by what it cannot do
}

// numbers takes a version such as 7.0.15 apart. One with less than three numbers
// or with words in them says nothing.
func numbers(version string) (all []int, ok bool) {
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil, false
		}
		all = append(all, n)
	}
	return all, len(all) >= 3
}

// helloVersion finds the version in a reply: a list of names, each before its value.
func helloVersion(reply any) string {
	list, _ := reply.([]any)
	for i := 0; i+1 < len(list); i += 2 {
		if list[i] == "version" {
			version, _ := list[i+1].(string)
			return version
		}
	}
	return ""
}
