package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/wstest"
)

// filesLimit has the program begin with so many files at most.
const filesLimit = "FLEETWIRE_TEST_FILES"

// limitFiles does what filesLimit asks for.
func limitFiles() {
	if n, err := strconv.ParseUint(os.Getenv(filesLimit), 10, 64); err == nil {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			panic(err)
		}
	}
}

// process is the program as a process of its own, with a pipe for its log.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	apps    string
	log     *os.File // the pipe's end
	address string
	ops     string
	devices []*device

	mu    sync.Mutex
	lines []string
	more  chan struct{} // closed with the next line
	read  chan struct{} // closed when the log has ended
}

func (p *process) writeApps(text string) {
	p.t.Helper()
	if err := os.WriteFile(p.apps, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// startProcess waits until it listens. Its log is read until stopReading.
func startProcess(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, apps: filepath.Join(t.TempDir(), "apps.json"), read: make(chan struct{}), more: make(chan struct{})}
	p.writeApps(processDocument)
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.log = out
	p.cmd = exec.Command(os.Args[0], append([]string{"-listen", "127.0.0.1:0", "-ops", "127.0.0.1:0", "-apps", p.apps, "-redis", redistest.Start(t).URL()}, args...)...)
	p.cmd.Env = append(os.Environ(), append(env, asProgram+"=1")...)
	p.cmd.Stderr = in
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		_ = out.Close()
		<-p.read
	})
	go func() {
		defer close(p.read)
		for in := bufio.NewScanner(out); in.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, in.Text())
			close(p.more)
			p.more = make(chan struct{})
			p.mu.Unlock()
		}
	}()
	line := p.line("msg=listening")
	p.address, p.ops = field(line, "address="), field(line, "ops=")
	return p
}

// stopReading leaves the rest of the log in the pipe.
func (p *process) stopReading() {
	_ = p.log.SetReadDeadline(time.Unix(1, 0))
	<-p.read
}

// field is the value of one of a line's attributes.
func field(line, name string) string {
	_, rest, _ := strings.Cut(line, " "+name)
	value, _, _ := strings.Cut(rest, " ")
	return value
}

// line waits for a line of the log with the text.
func (p *process) line(text string) string {
	p.t.Helper()
	late := time.After(patience)
	for {
		p.mu.Lock()
		more := p.more
		for _, line := range p.lines {
			if strings.Contains(line, text) {
				p.mu.Unlock()
				return line
			}
		}
		p.mu.Unlock()
		select {
		case <-more:
		case <-late:
			p.t.Fatalf("no line with %q in the log:\n%s", text, p.logged())
		}
	}
}

// logged is the log so far.
func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// signal sends one.
func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wantExit0 waits for the end.
func (p *process) wantExit0() {
	p.t.Helper()
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	select {
	case err := <-done:
		if err != nil {
			p.t.Errorf("%v, want exit 0", err)
		}
	case <-time.After(patience):
		p.t.Fatal("it does not end")
	}
}

// hurry ends it with two signals. Two at the same time could arrive as one.
func (p *process) hurry() {
	p.t.Helper()
	p.signal(os.Interrupt)
	p.line("msg=draining")
	for _, d := range p.devices { // or it would wait for their part of the closing handshake
		_ = d.conn.Close()
	}
	p.signal(os.Interrupt)
	p.wantExit0()
}

// device is a WebSocket connection.
type device struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (p *process) dial(key string) (*device, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	conn, early, _, err := ws.Dialer{}.Dial(ctx, "ws://"+p.address+"/v1?key="+key)
	if err != nil {
		return nil, err
	}
	d := &device{p.t, conn, early}
	if early == nil {
		d.in = bufio.NewReader(conn)
	}
	p.t.Cleanup(func() { _ = conn.Close() })
	p.devices = append(p.devices, d)
	return d, nil
}

func (p *process) connect() *device {
	p.t.Helper()
	d, err := p.dial("pk_live_demo")
	if err != nil {
		p.t.Fatal(err)
	}
	d.want(`{"type":"welcome"`)
	return d
}

func (d *device) next() ws.Frame {
	d.t.Helper()
	for {
		_ = d.conn.SetReadDeadline(time.Now().Add(patience))
		f, err := wstest.ReadFrame(d.in)
		if err != nil {
			d.t.Fatal(err)
		}
		if f.Header.OpCode != ws.OpPing {
			return f
		}
	}
}

func (d *device) want(prefix string) {
	d.t.Helper()
	if f := d.next(); !strings.HasPrefix(string(f.Payload), prefix) {
		d.t.Errorf("got %s, want %s…", f.Payload, prefix)
	}
}

// works wants what the device asks for to be done.
func (d *device) works() {
	d.t.Helper()
	for _, frame := range []string{`{"type":"subscribe","requestId":"s","channel":"a"}`, `{"type":"publish","requestId":"p","channel":"b","data":1}`} {
		if err := wsutil.WriteClientText(d.conn, []byte(frame)); err != nil {
			d.t.Fatal(err)
		}
		d.want(`{"type":"ack","requestId":"`)
	}
}

// processDocument has a key for devices without much of a limit.
const processDocument = `{"apps":[{"id":"app_demo","limits":{"connectsPerAddressPerMin":1000000},
 "keys":[{"id":"pk_live_demo","channelPatterns":["**"],"actions":["publish","subscribe"]}]}]}`

// More connections come than the process may open files for: those there are notice
// nothing, and others are let in when there is room again.
func TestFilesRunOut(t *testing.T) {
	p := startProcess(t, []string{filesLimit + "=80"})
	before := p.connect()
	var idle []net.Conn
	for range 120 {
		conn, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		idle = append(idle, conn)
	}
	p.line(`msg="connections wait, because they cannot be accepted`)
	before.works()
	response, err := http.Get("http://" + p.ops + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if string(body) != "ready\n" {
		t.Errorf("/readyz says %q", body)
	}
	p.writeApps(strings.Replace(processDocument, "app_demo", "app_next", 1))
	p.signal(syscall.SIGHUP)
	p.line("a new version of the apps document is in force")
	p.writeApps(processDocument)
	p.signal(syscall.SIGHUP)
	for _, conn := range idle {
		_ = conn.Close()
	}
	p.line("connections are accepted again")
	p.connect().works()
	http.DefaultClient.CloseIdleConnections()
	p.hurry()
	<-p.read
	if log := p.logged(); strings.Count(log, "level=ERROR") != 1 {
		t.Errorf("more than one line about it:\n%s", log)
	}
}

// SIGHUP reads the apps document at once, and says in the log what came of it.
func TestSIGHUP(t *testing.T) {
	p := startProcess(t, nil)
	d := p.connect()
	p.signal(syscall.SIGHUP)
	p.line(`msg="the apps document was read again and is the one in force"`)
	p.writeApps(strings.Replace(processDocument, `"keys":[`, `"keys":[{"id":"pk_live_next","channelPatterns":["**"],"actions":["subscribe"]},`, 1))
	p.signal(syscall.SIGHUP)
	p.line(`msg="a new version of the apps document is in force"`)
	if next, err := p.dial("pk_live_next"); err != nil {
		t.Error(err)
	} else {
		next.want(`{"type":"welcome"`)
	}
	p.writeApps("{")
	p.signal(syscall.SIGHUP)
	p.line(`msg="the newest version of the apps document cannot be used`)
	d.works()
	p.hurry()
}

// A second SIGTERM cuts the drain short.
func TestSecondSIGTERM(t *testing.T) {
	p := startProcess(t, nil, "-drain", "1h")
	devices := []*device{p.connect(), p.connect(), p.connect()}
	p.signal(syscall.SIGTERM)
	for _, d := range devices {
		d.want(`{"type":"going_away"`)
	}
	p.signal(syscall.SIGTERM)
	for _, d := range devices {
		f := d.next()
		if code, _ := ws.ParseCloseFrameData(f.Payload); f.Header.OpCode != ws.OpClose || code != 1001 {
			t.Errorf("got frame %x with code %d, want close 1001", f.Header.OpCode, code)
		}
		_ = d.conn.Close()
	}
	p.wantExit0()
	p.line("msg=draining")
}

// The log's reader goes away: the process serves on, and ends with 0.
func TestLogWithoutReader(t *testing.T) {
	p := startProcess(t, nil, "-drain", "0s")
	d := p.connect()
	_ = p.log.Close()
	<-p.read
	for range 3 { // a line each
		refused, err := p.dial("pk_nobody")
		if err != nil {
			t.Fatal(err)
		}
		if f := refused.next(); f.Header.OpCode != ws.OpClose {
			t.Errorf("got %s", f.Payload)
		}
	}
	d.works()
	p.signal(syscall.SIGTERM)
	p.wantExit0()
}

// The log's reader stands still: nobody waits for it, and the process ends in time.
func TestLogReaderThatStandsStill(t *testing.T) {
	p := startProcess(t, nil, "-drain", "0s", "-log-level", "debug", "-log-format", "text")
	d := p.connect()
	p.stopReading()
	for range 400 { // with two lines each, more than a pipe holds
		_ = p.connect().conn.Close()
	}
	d.works()
	response, err := http.Get("http://" + p.ops + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if !strings.Contains(string(metrics), "\nfleetwire_log_lines_dropped_total 0\n") {
		t.Error("no metric counts the dropped lines")
	}
	http.DefaultClient.CloseIdleConnections()
	p.signal(syscall.SIGTERM)
	p.wantExit0()
}
