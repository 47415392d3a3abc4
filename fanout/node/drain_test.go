package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/wstest"
)

// Issue: on SIGTERM a node stops accepting, tells each peer to come back at a
// time of its own, closes all of them with 1001 spread over Drain, and is done.
func TestDrain(t *testing.T) {
	const peers, drain = 50, 1 * time.Second
	r := start(t, func(o *Options) { o.Drain = drain })
	all := make([]*peer, peers)
	for i := range all {
		all[i] = r.connect(keyID, fmt.Sprint("device-", i))
		all[i].send(`{"type":"subscribe","channel":"devices/all","requestId":"s"}`)
		all[i].wantText(`{"type":"ack"`)
	}

	var mu sync.Mutex
	retries := map[int64]bool{}
	early, late := 0, 0
	begin, watch := time.Now(), redistest.NewStopwatch(t)
	var reading sync.WaitGroup
	for _, p := range all {
		reading.Add(1)
		go func() {
			defer reading.Done()
			goingAway, code := p.awaitDrain()
			mu.Lock()
			defer mu.Unlock()
			if goingAway < minRetryAfter.Milliseconds() || code != 1001 {
				t.Errorf("a peer got retryAfterMs %d and then close %d", goingAway, code)
			}
			retries[goingAway] = true
			if watch.Elapsed() < drain/2 { // which a busy machine may reach later
				early++
			}
			if time.Since(begin) >= drain/2 {
				late++
			}
		}()
	}
	check(t, r.wait())
	took := time.Since(begin)
	reading.Wait()
	if len(retries) != peers {
		t.Errorf("%d different retryAfterMs for %d peers", len(retries), peers)
	}
	if early == 0 || late == 0 {
		t.Errorf("of %d peers %d were closed in the first half of the drain, and %d in the second", peers, early, late)
	}
	if took < drain || took > patience/2 {
		t.Errorf("it took %v, want about %v", took, drain)
	}
	for _, addr := range []string{r.Addr(), r.OpsAddr()} {
		if conn, err := net.Dial("tcp", addr); err == nil {
			_ = conn.Close()
			t.Errorf("%s still takes connections", addr)
		}
	}
	if n := strings.Count(r.log.String(), "connection ended"); n != peers {
		t.Errorf("%d ends are logged, want %d", n, peers)
	}
	// Nothing is left in Redis of what the node held.
	for _, key := range r.redis.Keys() {
		if strings.HasSuffix(key, ":connections") {
			t.Errorf("%s is left in Redis", key)
		}
	}
}

// awaitDrain reads until the close frame, which it answers.
func (p *peer) awaitDrain() (retryAfter int64, code int) {
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(patience))
		f, err := wstest.ReadFrame(p.in)
		if err != nil {
			return retryAfter, 0
		}
		switch f.Header.OpCode {
		case ws.OpText:
			var m struct {
				Type         string
				RetryAfterMs int64
			}
			if json.Unmarshal(f.Payload, &m) == nil && m.Type == "going_away" {
				retryAfter = m.RetryAfterMs
			}
		case ws.OpClose:
			_, _ = p.conn.Write(ws.MustCompileFrame(ws.MaskFrame(ws.NewCloseFrame(f.Payload))))
			code, _ := ws.ParseCloseFrameData(f.Payload)
			return retryAfter, int(code)
		}
	}
}

// While it drains, a node says so, and what is delivered still comes.
func TestDraining(t *testing.T) {
	r := start(t, func(o *Options) { o.Drain = 2 * time.Second })
	a, b := r.connect(keyID, "a"), r.connect(keyID, "b")
	b.send(`{"type":"subscribe","channel":"devices/x","requestId":"s"}`)
	b.wantText(`{"type":"ack"`)
	r.stop()
	for _, p := range []*peer{a, b} {
		p.wantText(`{"type":"going_away","retryAfterMs":`)
	}
	status, _, body := r.request("GET", "http://"+r.OpsAddr()+"/readyz", nil)
	if status != 503 || body != "not ready: draining\n" {
		t.Errorf("/readyz: %d %q", status, body)
	}
	if status, _, _ := r.request("GET", "http://"+r.OpsAddr()+"/healthz", nil); status != 200 {
		t.Errorf("/healthz: %d", status)
	}
	eventually(t, "closed to new connections", func() bool {
		conn, err := net.Dial("tcp", r.Addr())
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	a.send(`{"type":"publish","channel":"devices/x","data":"last words"}`)
	b.wantText(`{"type":"message","channel":"devices/x","from":"a","data":"last words"}`)
	var reading sync.WaitGroup
	for _, p := range []*peer{a, b} {
		reading.Add(1)
		go func() { defer reading.Done(); p.awaitDrain() }()
	}
	check(t, r.wait())
	reading.Wait()
}

// A peer that connects at the very moment is closed as well, and nobody waits
// for it for ever.
func TestConnectingWhileItStops(t *testing.T) {
	for range 8 {
		r := start(t)
		begin := make(chan struct{})
		var dialing sync.WaitGroup
		for i := range 12 {
			token := r.token(keyID, fmt.Sprint("device-", i))
			dialing.Add(1)
			go func() {
				defer dialing.Done()
				<-begin
				p, err := r.dial(query(token), nil)
				if err != nil {
					return // too late
				}
				if _, code := p.awaitDrain(); code != 1001 && code != 0 && code != 1013 {
					t.Errorf("closed with %d", code)
				}
			}()
		}
		close(begin)
		if err := r.wait(); err != nil {
			t.Fatal(err)
		}
		dialing.Wait()
	}
}

// A connect that is being admitted when the node stops must end with it: neither
// may its session outlive the node, nor the node wait for it for ever.
func TestConnectThatIsAdmittedWhileItStops(t *testing.T) {
	r := prepare(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.sessionOptions.Now = func() time.Time { // first called when the session is made
		once.Do(func() { close(entered); <-leave })
		return time.Now()
	}
	r.run()
	r.awaitReady()
	token, dialed := r.token(keyID, "late"), make(chan *peer, 1)
	go func() { // the upgrade is answered together with the welcome
		p, err := r.dial(query(token), nil)
		if err != nil {
			t.Error(err)
		}
		dialed <- p
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- r.wait() }()
	eventually(t, "draining", func() bool { return strings.Contains(r.log.String(), "draining") })
	select {
	case err := <-stopped:
		t.Error("the node has stopped, and a connection has not")
		stopped <- err
	case <-time.After(300 * time.Millisecond): // as long as a node without connections takes at most
	}
	close(leave)
	if p := <-dialed; p != nil {
		if _, code := p.awaitDrain(); code != int(protocol.CloseGoingAway) {
			t.Errorf("closed with %d, want 1001", code)
		}
	}
	check(t, <-stopped)
	if n := len(r.sessions.all()); n != 0 {
		t.Errorf("%d sessions have outlived their node", n)
	}
}

func TestStoppedBeforeItBegan(t *testing.T) {
	for range 20 {
		r := prepare(t)
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		check(t, r.Run(ctx))
		for _, addr := range []string{r.Addr(), r.OpsAddr()} {
			if conn, err := net.Dial("tcp", addr); err == nil {
				_ = conn.Close()
				t.Fatalf("%s still takes connections", addr)
			}
		}
	}
}

// If the listener fails the node drains all the same, and says why it stopped.
func TestListenerFails(t *testing.T) {
	r := prepare(t)
	check(t, r.opsListener.Close())
	err := r.Run(context.Background())
	if err == nil || !strings.HasPrefix(err.Error(), "serving stopped: ") {
		t.Errorf("error %v", err)
	}
}
