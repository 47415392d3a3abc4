package redisconn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// sentinelLook is how often Sentinels are asked which server is the primary. It
	// bounds how long connections to a demoted one stay.
	sentinelLook = 250 * time.Millisecond
	// sentinelPatience bounds how long one Sentinel is asked. Others answer meanwhile.
	sentinelPatience = 750 * time.Millisecond
	// sentinelGrace is for how long further Sentinels are heard once one has answered: it
	// may be one that was cut off, and has missed a failover.
	sentinelGrace = 50 * time.Millisecond
)

// newFailover returns a client of the primary that Sentinels name. go-redis has such a
// client, too. If the Sentinel hangs that it has chosen, it asks no other; and its
// subscriptions stay at a demoted primary.
func newFailover(l *location) *redis.Client {
	dial := l.opt.Dialer
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	s := &sentinels{name: l.sentinel.primary, shown: l.sentinel.shownName(), connect: dial, conns: map[*watched]struct{}{}}
	s.open = func() (all []*redis.Client) {
		for _, addr := range l.addrs {
			all = append(all, newClient(&redis.Options{
				Addr: addr, Username: l.sentinel.user, Password: l.sentinel.password, Dialer: dial, Protocol: 2,
				DialTimeout: sentinelPatience, ReadTimeout: sentinelPatience, WriteTimeout: sentinelPatience, ContextTimeoutEnabled: true,
				MaxRetries: -1, DialerRetries: 1, PoolSize: 4, DisableIdentity: true, MaintNotificationsConfig: l.opt.MaintNotificationsConfig,
			}, sentinel))
		}
		return all
	}
	l.opt.Dialer = s.dial
	l.opt.Addr = l.addrs[0] // is shown in no error, and led to by no connection
	return newClient(l.opt, primary)
}

// sentinels dial the primary that Sentinels name, and close all connections to one that
// they name no more, also if it answers: it may not know yet that it was demoted, or hang.
type sentinels struct {
	name, shown string
	open        func() []*redis.Client
	connect     func(ctx context.Context, network, addr string) (net.Conn, error)

	mu      sync.Mutex
	users   int // connections, and attempts to make one; Sentinels are asked while there are any
	clients []*redis.Client
	end     context.CancelFunc // ends the watch
	named   named
	conns   map[*watched]struct{}
}

// named is what a Sentinel says of the primary. Each failover has a higher epoch.
type named struct {
	addr  string
	epoch int64
}

// dial connects to the primary. network and addr are the client's, and say nothing.
func (s *sentinels) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	clients := s.enter()
	addr, err := s.find(ctx, clients)
	if err != nil {
		s.leave()
		return nil, &net.OpError{Op: "dial", Net: "sentinel", Err: err}
	}
	conn, err := s.connect(ctx, "tcp", addr)
	if err != nil {
		s.leave()
		return nil, err
	}
	return s.keep(conn, addr)
}

// enter has Sentinels be asked until leave.
func (s *sentinels) enter() []*redis.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users++; s.users == 1 {
		s.clients = s.open()
		var ctx context.Context
		ctx, s.end = context.WithCancel(context.Background())
		go s.watch(ctx, s.clients)
	}
	return s.clients
}

func (s *sentinels) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users--; s.users == 0 {
		s.end()
		for _, c := range s.clients {
			_ = c.Close()
		}
		s.clients = nil
	}
}

// keep has a connection end when another server is the primary.
func (s *sentinels) keep(conn net.Conn, addr string) (net.Conn, error) {
	w := &watched{Conn: conn, of: s, addr: addr}
	s.mu.Lock()
	s.conns[w] = struct{}{}
	demoted := s.named.addr != addr
	s.mu.Unlock()
	if demoted { // meanwhile
		_ = w.Close()
		return nil, &net.OpError{Op: "dial", Net: "sentinel", Err: errors.New("the primary has changed meanwhile")}
	}
	if plain, ok := conn.(syscall.Conn); ok {
		return raw{w, plain}, nil
	}
	return w, nil
}

// watch asks Sentinels again and again while there are connections.
func (s *sentinels) watch(ctx context.Context, clients []*redis.Client) {
	tick := time.NewTicker(sentinelLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, _ = s.find(ctx, clients)
		}
	}
}

// find asks all Sentinels at once for the primary's address. If none answers, the
// last primary is the best guess.
func (s *sentinels) find(ctx context.Context, clients []*redis.Client) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, sentinelPatience)
	defer cancel()
	type answer struct {
		named
		err error
	}
	answers := make(chan answer, len(clients))
	for _, c := range clients {
		go func() {
			n, err := s.ask(ctx, c)
			answers <- answer{n, err}
		}()
	}
	var best named
	var heard int
	var failures error
	var grace <-chan time.Time
	for range clients {
		select {
		case a := <-answers:
			switch {
			case a.err != nil && failures == nil:
				failures = a.err
			case a.err != nil:
				failures = fmt.Errorf("%w; %w", failures, a.err)
			default:
				if heard++; heard == 1 {
					grace = time.After(sentinelGrace)
				}
				if best.addr == "" || a.epoch > best.epoch {
					best = a.named
				}
			}
			continue
		case <-grace:
		}
		break
	}
	return s.learn(best, heard > len(clients)/2, failures)
}

// ask asks one Sentinel. Only GET-MASTER-ADDR-BY-NAME tells of a failover that has
// not ended, and only MASTER has the epoch.
func (s *sentinels) ask(ctx context.Context, c *redis.Client) (named, error) {
	p := c.Pipeline()
	addr := redis.NewStringSliceCmd(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.name)
	master := redis.NewMapStringStringCmd(ctx, "SENTINEL", "MASTER", s.name)
	_, _ = p.Process(ctx, addr), p.Process(ctx, master)
	_, err := p.Exec(ctx)
	switch at := addr.Val(); {
	case errors.Is(addr.Err(), redis.Nil):
		return named{}, fmt.Errorf("the Sentinel at %s knows none of that name", c.Options().Addr)
	case err != nil:
		return named{}, err
	case len(at) != 2:
		return named{}, fmt.Errorf("the Sentinel at %s answers with %d words and not with a host and a port", c.Options().Addr, len(at))
	default:
		epoch, _ := strconv.ParseInt(master.Val()["config-epoch"], 10, 64)
		return named{net.JoinHostPort(at[0], at[1]), epoch}, nil
	}
}

// learn takes what Sentinels said, closes connections to servers that are no longer the
// primary, and returns the primary's address. If most of them say it, they may lower the
// epoch: they were set up anew.
func (s *sentinels) learn(best named, most bool, failures error) (string, error) {
	s.mu.Lock()
	if best.addr == "" && s.named.addr == "" {
		s.mu.Unlock()
		return "", fmt.Errorf("no Sentinel says which server is the primary %s: %w", s.shown, failures)
	}
	if best.addr != "" && (best.epoch >= s.named.epoch || most) {
		s.named = best
	}
	addr := s.named.addr
	var demoted []*watched
	for w := range s.conns {
		if w.addr != addr {
			demoted = append(demoted, w)
		}
	}
	s.mu.Unlock()
	for _, w := range demoted {
		_ = w.Close()
	}
	return addr, nil
}

// watched is a connection to a server that was the primary when it was made.
type watched struct {
	net.Conn
	of   *sentinels
	addr string
	once sync.Once
}

func (w *watched) Close() error {
	err := w.Conn.Close()
	w.once.Do(func() {
		w.of.mu.Lock()
		delete(w.of.conns, w)
		w.of.mu.Unlock()
		w.of.leave()
	})
	return err
}

// raw is a watched connection without TLS, of which go-redis can see whether it is
// still open while it is idle.
type raw struct {
	*watched
	syscall.Conn
}
