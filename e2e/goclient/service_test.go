// Package goclient_test runs the Go client, clients/go, against the service.
package goclient_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"fleetwire/clients/go/client"
)

const (
	root = "../.."
	// patience is how long anything may take before a test gives up on it. Nothing
	// waits for it but a test that fails.
	patience = 60 * time.Second

	keyID, secret = "sk_live_0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef01234567"
	secretKey     = keyID + "_secret_" + secret
	publishable   = "pk_live_0123456789abcdef01234567"
)

// document is the apps that the services under test have: one with limits that don't
// get in a test's way, one with the limits that everybody has, one without a message
// left, and one that is suspended.
const document = `{"apps":[
	{"id":"app_fleet","groups":[{"name":"ingest","patterns":["devices/*/telemetry","devices/*/events"]}],"history":[{"pattern":"devices/*/desired","size":1,"ttlSec":3600},{"pattern":"fleets/*/log","size":100,"ttlSec":3600}],"limits":{"connectionMessagesPerSec":100000,"connectionMessagesBurst":100000,"connectsPerAddressPerMin":100000},
		"keys":[
			{"id":"` + keyID + `","secret":"` + secret + `","channelPatterns":["devices/**","fleets/**"],"actions":["publish","subscribe","presence","send"]},
			{"id":"` + publishable + `","channelPatterns":["fleets/*/status"],"actions":["subscribe"]}]},
	{"id":"app_plain","keys":[{"id":"sk_live_plain","secret":"` + secret + `","channelPatterns":["**"],"actions":["publish","subscribe"]}]},
	{"id":"app_poor","plan":{"name":"poor","maxConcurrentConnections":10,"maxMessagesPerPeriod":1,"overagesAllowed":false,"overagesEnabled":false},
		"limits":{"restPerSec":1,"restBurst":3},
		"keys":[{"id":"sk_live_poor","secret":"` + secret + `","channelPatterns":["**"],"actions":["publish","subscribe"]}]},
	{"id":"app_off","suspended":true,"keys":[{"id":"sk_live_off","secret":"` + secret + `","channelPatterns":["**"],"actions":["publish","subscribe"]}]}]}`

var programs struct {
	dir   string
	build func() error
}

func TestMain(m *testing.M) {
	programs.build = sync.OnceValue(build)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if programs.dir != "" {
			_ = os.RemoveAll(programs.dir)
		}
		os.Exit(code)
	}))
}

// build compiles localdev: pkg may not import it, and as a process it can be stopped
// and killed as nodes are.
func build() (err error) {
	if programs.dir, err = os.MkdirTemp("", "fleetwire-client-"); err != nil {
		return err
	}
	// go test caches a result as long as the files that the test has looked at stay the
	// same: the service's sources are to be among them.
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		return err
	}
	// As the Dockerfile builds, to share what is compiled. Without VCS stamps: they fail in a
	// checkout that belongs to another user.
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(programs.dir, "localdev"), "./localdev")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./localdev: %w\n%s", err, out)
	}
	return nil
}

// A service is one localdev process: a node and the control plane.
type service struct {
	url    string // http://host:port
	cmd    *exec.Cmd
	output sync.WaitGroup
	once   sync.Once
	mu     sync.Mutex
	log    strings.Builder
}

// startService starts a service on a Redis, "" for one of its own.
func startService(redisURL string) (*service, error) {
	if err := programs.build(); err != nil {
		return nil, err
	}
	args := []string{"-listen", "127.0.0.1:0", "-ops", "127.0.0.1:0", "-apps", document, "-drain", "100ms"}
	if redisURL != "" {
		args = append(args, "-redis", redisURL)
	}
	s := &service{cmd: exec.Command(filepath.Join(programs.dir, "localdev"), args...)}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	address := make(chan string, 1)
	s.output.Go(func() { s.read(stdout, address) })
	s.output.Go(func() { s.read(stderr, nil) })
	if s.url = <-address; s.url == "" {
		s.stop()
		return nil, errors.New("localdev does not start:\n" + s.printed())
	}
	return s, nil
}

// read keeps the process's log, or finds its address in what it prints.
func (s *service) read(from io.Reader, address chan<- string) {
	for in := bufio.NewScanner(from); in.Scan(); {
		if address == nil { // after that, standard output explains itself to people
			s.mu.Lock()
			s.log.WriteString(in.Text() + "\n")
			s.mu.Unlock()
		}
		if url, ok := strings.CutPrefix(in.Text(), "listening on "); ok && address != nil {
			address <- url
		}
	}
	if address != nil {
		close(address)
	}
}

func (s *service) printed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// end sends the process a signal and waits until it is gone.
func (s *service) end(signal os.Signal) {
	s.once.Do(func() {
		_ = s.cmd.Process.Signal(signal) // it may be gone already
		s.output.Wait()
		_ = s.cmd.Wait() // the tests are about the client
	})
}

// stop drains the node, as a deployment does; kill does not.
func (s *service) stop() { s.end(syscall.SIGTERM) }
func (s *service) kill() { s.end(os.Kill) }

// newService starts a service that ends with the test.
func newService(t *testing.T, redisURL string) *service {
	t.Helper()
	s, err := startService(redisURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.stop()
		if log := s.printed(); strings.Contains(log, "eyJ") {
			t.Errorf("the service's log holds a token:\n%s", log)
		}
		if t.Failed() {
			t.Logf("the service printed:\n%s", s.printed())
		}
	})
	return s
}

func (s *service) rest() *client.REST { return &client.REST{BaseURL: s.url, SecretKey: secretKey} }

// sign makes a token with these claims, also such as no service would mint.
func sign(key string, claims jwt.MapClaims) string {
	if _, ok := claims["exp"]; !ok {
		claims["exp"] = time.Now().Add(time.Hour).Unix()
	}
	token := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	token.Header["kid"] = key
	signed, err := token.SignedString([]byte(secret))
	if err != nil {
		panic(err) // an HMAC of claims that are JSON
	}
	return signed
}

// A proxy stands in front of nodes, as a load balancer does, and can send new
// connections to another one.
type proxy struct {
	url      string
	listener net.Listener
	running  sync.WaitGroup
	mu       sync.Mutex
	target   string
}

func newProxy(t *testing.T, to *service) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{url: "http://" + l.Addr().String(), listener: l}
	p.point(to)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		_ = l.Close()
		p.running.Wait() // connections end when one of their ends does
	})
	return p
}

func (p *proxy) point(to *service) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = strings.TrimPrefix(to.url, "http://")
}

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target := p.target
		p.mu.Unlock()
		out, err := net.Dial("tcp", target)
		if err != nil {
			_ = in.Close()
			continue
		}
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			p.running.Go(func() {
				_, _ = io.Copy(way[0], way[1]) // however it ends, so do both
				_ = way[0].Close()
				_ = way[1].Close()
			})
		}
	}
}

// A device is a client under test, with what it was told.
type device struct {
	*client.Client
	t       *testing.T
	changes chan client.Change
	errs    chan error
}

// connect makes a client, waits until it is connected, and closes it with the test.
func connect(t *testing.T, opt client.Options) *device {
	t.Helper()
	d := &device{t: t, changes: make(chan client.Change, 1000), errs: make(chan error, 1000)}
	opt.OnState = func(c client.Change) { d.changes <- c }
	opt.OnError = func(err error) { d.errs <- err }
	if opt.FramesPerSecond == 0 {
		opt.FramesPerSecond = 50000
	}
	c, err := client.Dial(background(t), opt)
	if err != nil {
		t.Fatal(err)
	}
	d.Client = c
	t.Cleanup(func() {
		c.Close()
		<-c.Done()
	})
	return d
}

// as connects a peer with what the key allows.
func (s *service) as(t *testing.T, peer string) *device {
	t.Helper()
	return connect(t, client.Options{URL: s.url, Token: s.rest().Tokens(client.TokenRequest{Peer: peer})})
}

// until waits for a change to a state.
func (d *device) until(state client.State) client.Change {
	d.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case c := <-d.changes:
			if c.State == state {
				return c
			}
		case <-timeout:
			d.t.Fatalf("the client does not get %v within %v", state, patience)
		}
	}
}

// listen subscribes, and hands out what comes.
func (d *device) listen(channel string, opts ...client.SubscribeOption) <-chan client.Message {
	d.t.Helper()
	got := make(chan client.Message, 10000)
	if err := d.Subscribe(background(d.t), channel, func(m client.Message) { got <- m }, opts...); err != nil {
		d.t.Fatal(err)
	}
	return got
}

func (d *device) publish(channel string, data any) {
	d.t.Helper()
	if err := d.Publish(background(d.t), channel, data); err != nil {
		d.t.Fatal(err)
	}
}

func next(t *testing.T, from <-chan client.Message) client.Message {
	t.Helper()
	select {
	case m := <-from:
		return m
	case <-time.After(patience):
		t.Fatalf("no message within %v", patience)
		return client.Message{}
	}
}

// background is a context with the test's patience.
func background(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
