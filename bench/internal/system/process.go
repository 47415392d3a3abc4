//go:build linux

package system

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// startPatience is how long a process may take until it accepts connections.
const startPatience = 20 * time.Second

// process is a server that was started here, and is ended here.
type process struct {
	cmd    *exec.Cmd
	log    string // the file with what it printed
	exited chan struct{}
}

// start runs a program and waits until all addresses accept connections.
func (e *Env) start(name string, addresses []string, program string, args ...string) (*process, error) {
	e.started++
	path := filepath.Join(e.Dir, fmt.Sprintf("%03d-%s.log", e.started, name))
	log, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p := &process{cmd: exec.Command(program, args...), log: path, exited: make(chan struct{})}
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = e.Dir, log, log
	p.cmd.Env = withoutSettings(os.Environ())
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	started := make(chan error)
	go func() {
		// The kernel kills it when the thread that started it ends: this one lasts as
		// long as the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait()
		}
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	for _, address := range addresses {
		if err := p.awaitListening(address); err != nil {
			p.stop()
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return p, nil
}

// withoutSettings keeps settings in the caller's environment out of what is measured.
func withoutSettings(environ []string) (kept []string) {
	for _, v := range environ {
		if !strings.HasPrefix(v, "FLEETWIRE_") && !strings.HasPrefix(v, "CENTRIFUGO_") {
			kept = append(kept, v)
		}
	}
	return kept
}

func (p *process) awaitListening(address string) error {
	deadline := time.Now().Add(startPatience)
	for time.Now().Before(deadline) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.exited:
			return fmt.Errorf("ended at once; it said: %s", p.lastWords())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("does not listen on %s after %v; it said: %s", address, startPatience, p.lastWords())
}

// awaitReady waits until a GET of the URL answers 200.
func (p *process) awaitReady(url string) error {
	client := http.Client{Timeout: time.Second}
	for deadline := time.Now().Add(startPatience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		answer, err := client.Get(url)
		if err != nil {
			continue
		}
		_ = answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			client.CloseIdleConnections()
			return nil
		}
	}
	return fmt.Errorf("%s is not 200 after %v; the process said: %s", url, startPatience, p.lastWords())
}

// stop ends the process.
func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// lastWords is the end of what it printed.
func (p *process) lastWords() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	b = bytes.TrimSpace(b)
	return string(b[max(0, len(b)-2000):])
}

// cpu is the CPU time of all threads of the process, also of ended ones, to the
// nanosecond: clock_getcpuclockid(3).
func (p *process) cpu() (time.Duration, error) {
	var ts syscall.Timespec
	clock := ^p.cmd.Process.Pid<<3 | 2 // CPUCLOCK_SCHED
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0, fmt.Errorf("the CPU time of process %d: %w", p.cmd.Process.Pid, errno)
	}
	return time.Duration(ts.Nano()), nil
}

// rss is the memory of the process that is resident, in bytes.
func (p *process) rss() (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	return parseKilobytes(b, "Rss:")
}

// parseKilobytes finds a line such as "Rss: 12 kB" in a file of /proc. It returns bytes.
func parseKilobytes(text []byte, name string) (int64, error) {
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name && fields[2] == "kB" {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("no line %s … kB", name)
}
