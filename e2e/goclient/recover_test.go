package goclient_test

import (
	"fmt"
	"testing"

	"fleetwire/clients/go/client"
	"fleetwire/pkg/redisconn/redistest"
)

const followed = "fleets/f1/log"

// recovery is a device that is subscribed to the channel followed through a proxy, which leads
// to the first of two services on one Redis. It asked for no messages from before.
type recovery struct {
	*device
	redis    *redistest.Server
	one, two *service
	proxy    *proxy
	messages <-chan client.Message
	gaps     chan client.Gap
}

func newRecovery(t *testing.T) *recovery {
	t.Helper()
	r := &recovery{redis: redistest.Start(t), gaps: make(chan client.Gap, 100)}
	r.one, r.two = newService(t, r.redis.URL()), newService(t, r.redis.URL())
	r.proxy = newProxy(t, r.one)
	r.device = connect(t, client.Options{URL: r.proxy.url, Token: r.two.rest().Tokens(client.TokenRequest{Peer: "reader"}), OnGap: func(g client.Gap) { r.gaps <- g }})
	r.messages = r.listen(followed)
	r.until(client.Live)
	return r
}

// tells publishes messages from…to, and returns the position of the last.
func tells(t *testing.T, backend *client.REST, from, to int) (at client.Position) {
	t.Helper()
	var all []client.Outgoing
	for n := from; n <= to; n++ {
		all = append(all, client.Outgoing{Channel: followed, Data: n})
	}
	results, err := backend.PublishMany(background(t), all)
	for _, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		at = r.Position
	}
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// wants wants messages from…to, the last at a position.
func wants(t *testing.T, messages <-chan client.Message, from, to int, at client.Position) {
	t.Helper()
	for n := from; n <= to; n++ {
		m := next(t, messages)
		want := client.Position{Epoch: at.Epoch, Offset: at.Offset - uint64(to-n)}
		if string(m.Data) != fmt.Sprint(n) || m.Position != want {
			t.Fatalf("%s came at %+v; want %d at %+v", m.Data, m.Position, n, want)
		}
	}
}

func (r *recovery) nextGap() client.Gap {
	r.t.Helper()
	select {
	case g := <-r.gaps:
		return g
	case <-background(r.t).Done():
		r.t.Fatalf("no gap within %v", patience)
		return client.Gap{}
	}
}

// back waits until the device is on its next connection.
func (d *device) back() {
	d.t.Helper()
	d.until(client.Waiting)
	d.until(client.Live)
}

// While a subscription moves from a node that dies to another, messages are published all the
// time. It gets each of them once and in order, though it never asked for history.
func TestRecoversOverNodes(t *testing.T) {
	r := newRecovery(t)
	const batches, each = 8, 10
	for b := range batches {
		at := tells(t, r.two.rest(), b*each+1, (b+1)*each)
		if b == batches/2 {
			r.proxy.point(r.two)
			r.one.kill()
		}
		if b == batches-1 {
			r.back()
			wants(t, r.messages, 1, batches*each, at)
		}
	}
	if len(r.gaps) > 0 {
		t.Errorf("a gap: %+v", <-r.gaps)
	}
}

// Redis starts anew under a subscription that asked for no history. OnGap hears where its
// messages end, and it is replayed nothing that it had, also on the next connection.
func TestRedisRestartsUnderASubscription(t *testing.T) {
	for name, restart := range map[string]func(*redistest.Server){"empty": (*redistest.Server).Restart, "with its data": (*redistest.Server).RestartWithData} {
		t.Run(name, func(t *testing.T) {
			r := newRecovery(t)
			old := tells(t, r.two.rest(), 1, 3)
			wants(t, r.messages, 1, 3, old)
			restart(r.redis)
			gap := r.nextGap()
			if gap.Channel != followed || gap.After != old || gap.Until.Epoch == old.Epoch {
				t.Errorf("the gap is %+v behind %+v", gap, old)
			}
			at := tells(t, r.two.rest(), 4, 5)
			if want := (client.Position{Epoch: gap.Until.Epoch, Offset: gap.Until.Offset + 2}); at != want {
				t.Errorf("published at %+v, want %+v", at, want)
			}
			wants(t, r.messages, 4, 5, at)

			r.proxy.point(r.two)
			r.one.kill()
			r.back()
			wants(t, r.messages, 6, 6, tells(t, r.two.rest(), 6, 6))
			if len(r.gaps) > 0 {
				t.Errorf("another gap: %+v", <-r.gaps)
			}
		})
	}
}

// The history is deleted while a subscription is away. OnGap hears it if messages that the
// subscription had yet to get were among those; what came behind the DELETE follows.
func TestDeleteWhileAway(t *testing.T) {
	for _, missed := range []int{0, 2} {
		t.Run(fmt.Sprint(missed, " missed"), func(t *testing.T) {
			r := newRecovery(t)
			old := tells(t, r.two.rest(), 1, 3)
			wants(t, r.messages, 1, 3, old)

			away := &service{url: fmt.Sprint("http://127.0.0.1:", redistest.FreePort(t))}
			r.proxy.point(away)
			r.one.kill()
			r.until(client.Waiting)
			if missed > 0 {
				tells(t, r.two.rest(), 4, 3+missed)
			}
			if err := r.two.rest().Forget(background(t), followed); err != nil {
				t.Fatal(err)
			}
			at := tells(t, r.two.rest(), 4+missed, 5+missed)
			r.proxy.point(r.two)
			if missed > 0 {
				if gap, want := r.nextGap(), (client.Gap{Channel: followed, After: old, Until: at}); gap != want {
					t.Errorf("the gap is %+v, want %+v", gap, want)
				}
			}
			wants(t, r.messages, 4+missed, 5+missed, at)
			if at.Epoch != old.Epoch || at.Offset != old.Offset+uint64(missed)+2 {
				t.Errorf("offsets do not go on rising: %+v behind %+v", at, old)
			}
			if len(r.gaps) > 0 {
				t.Errorf("a gap: %+v", <-r.gaps)
			}
		})
	}
}
