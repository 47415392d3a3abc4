package aws

import (
	"bufio"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"fleetwire/pkg/redisconn/redistest"
)

// instruction is a line of the Dockerfile, continuations joined.
type instruction struct{ name, rest string }

// dockerfile reads the Dockerfile's stages.
func dockerfile() (stages [][]instruction, err error) {
	b, err := os.ReadFile(filepath.Join(module, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(strings.ReplaceAll(string(b), "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, rest, _ := strings.Cut(line, " ")
		if name == "FROM" {
			stages = append(stages, nil)
		}
		if len(stages) == 0 {
			return nil, fmt.Errorf("%s before the first FROM", name)
		}
		last := len(stages) - 1
		stages[last] = append(stages[last], instruction{name, strings.TrimSpace(rest)})
	}
	if len(stages) < 2 {
		return nil, fmt.Errorf("the Dockerfile has %d stages", len(stages))
	}
	return stages, nil
}

// only is the one instruction of that name in a stage.
func only(t testing.TB, stage []instruction, name string) string {
	t.Helper()
	var found []string
	for _, i := range stage {
		if i.name == name {
			found = append(found, i.rest)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d times %s in the stage, want once", len(found), name)
	}
	return found[0]
}

// image is a folder that holds the node's binary and nothing else, as the image
// does but for the certificates.
func image(t testing.TB) string {
	t.Helper()
	return once(t, "image", func() (string, error) {
		source, root := filepath.Join(built.dir, "context"), filepath.Join(built.dir, "image")
		if err := copyContext(source); err != nil {
			return "", err
		}
		if err := os.MkdirAll(root, 0o755); err != nil {
			return "", err
		}
		stages, err := dockerfile()
		if err != nil {
			return "", err
		}
		// The Dockerfile's own command, with its flags, on what .dockerignore lets through.
		i := slices.IndexFunc(stages[0], func(i instruction) bool { return i.name == "RUN" && strings.Contains(i.rest, "go build") })
		if i < 0 || !strings.Contains(stages[0][i].rest, "-o /out/fanout") {
			return "", errors.New("the Dockerfile has no RUN … go build … -o /out/fanout")
		}
		cmd := exec.Command("sh", "-c", strings.Replace(stages[0][i].rest, "/out/fanout", filepath.Join(root, "fanout"), 1))
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "TARGETARCH="+runtime.GOARCH, "GOFLAGS=")
		if said, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", cmd, err, said)
		}
		return root, nil
	})
}

// copyContext copies what .dockerignore leaves of the module.
func copyContext(to string) error {
	ignore, err := os.Open(filepath.Join(module, ".dockerignore"))
	if err != nil {
		return err
	}
	defer ignore.Close()
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	everything := false
	for lines := bufio.NewScanner(ignore); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		name, kept := strings.CutPrefix(line, "!")
		switch {
		case line == "" || line[0] == '#':
		case line == "*":
			everything = true
		case !everything || !kept || strings.ContainsAny(name, "*?["):
			return fmt.Errorf(".dockerignore: %q: want * and then what is kept, by its path", line)
		default:
			from, target := filepath.Join(module, name), filepath.Join(to, name)
			if info, err := os.Stat(from); err != nil {
				return err
			} else if info.IsDir() {
				err = os.CopyFS(target, os.DirFS(from))
				if err != nil {
					return err
				}
				continue
			}
			b, err := os.ReadFile(from)
			if err != nil {
				return err
			}
			if err := os.WriteFile(target, b, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func TestImageIsBuiltWithTheModulesGo(t *testing.T) {
	stages, err := dockerfile()
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(module, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(mod)
	if from := only(t, stages[0], "FROM"); version == nil || !strings.Contains(from, " golang:"+string(version[1])+"-") {
		t.Errorf("FROM %s, and go.mod says %q", from, version)
	}
}

// What ends up in the image: no shell, no root, and what TLS needs.
func TestImageHoldsNothingElse(t *testing.T) {
	stages, err := dockerfile()
	if err != nil {
		t.Fatal(err)
	}
	last := stages[len(stages)-1]
	if from := only(t, last, "FROM"); from != "scratch" {
		t.Errorf("FROM %s", from)
	}
	if user := only(t, last, "USER"); !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(user) {
		t.Errorf("USER %s; want numbers other than 0: there is no passwd file to look a name up in", user)
	}
	var copied []string
	for _, i := range last {
		if i.name == "COPY" {
			copied = append(copied, i.rest)
		}
	}
	if want := []string{
		"--from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/",
		"--from=build /out/fanout /fanout",
	}; !slices.Equal(copied, want) {
		t.Errorf("COPY %q, want %q", copied, want)
	}
}

func TestImagesBinaryIsStatic(t *testing.T) {
	program, err := elf.Open(filepath.Join(image(t), "fanout"))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("has a segment %v: it is not static", p.Type)
		}
	}
	if libraries, _ := program.ImportedLibraries(); len(libraries) > 0 {
		t.Errorf("needs %v", libraries)
	}
}

// container runs a command of the image: alone in its file system and as its
// user, where the tests may do that, with the image's environment.
func container(t testing.TB, environment map[string]string, command ...string) *exec.Cmd {
	t.Helper()
	stages, err := dockerfile()
	if err != nil {
		t.Fatal(err)
	}
	last := stages[len(stages)-1]
	cmd := exec.Command(command[0], command[1:]...)
	if os.Geteuid() == 0 {
		var user, group uint32
		if _, err := fmt.Sscanf(only(t, last, "USER"), "%d:%d", &user, &group); err != nil {
			t.Fatal(err)
		}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: image(t), Credential: &syscall.Credential{Uid: user, Gid: group}}
	} else {
		cmd.Path = filepath.Join(image(t), command[0])
	}
	cmd.Env = append([]string{}, strings.Fields(only(t, last, "ENV"))...)
	for name, value := range environment { // a later one wins
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// words reads a command in the Dockerfile's JSON form.
func words(t testing.TB, s string) (words []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &words); err != nil || len(words) == 0 {
		t.Fatalf("%s is no command in JSON form; without a shell in the image no other can run", s)
	}
	return words
}

// process is a node that runs as it does in its container.
type process struct {
	*node
	cmd  *exec.Cmd
	ops  string
	log  output
	done chan error // has how it ended
}

// startImage starts the image, on free ports of this machine alone.
func startImage(t testing.TB, redis *redistest.Server, environment map[string]string) *process {
	t.Helper()
	stages, err := dockerfile()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{
		"FLEETWIRE_APPS": read(t, "apps.json"), "FLEETWIRE_REDIS_URL": redis.URL(), "FLEETWIRE_DRAIN": "100ms",
		"FLEETWIRE_LISTEN": freeAddress(t), "FLEETWIRE_OPS": freeAddress(t),
	}
	for name, value := range environment {
		all[name] = value
	}
	p := &process{
		node: &node{addr: all["FLEETWIRE_LISTEN"]}, ops: all["FLEETWIRE_OPS"], done: make(chan error, 1),
		cmd: container(t, all, words(t, only(t, stages[len(stages)-1], "ENTRYPOINT"))...),
	}
	p.cmd.Stderr, p.cmd.Stdout = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.done <- p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("the node's log:\n%s", &p.log)
		}
	})
	waitReady(t, p.ops)
	return p
}

// wantEnd wants the process to end by itself, with exit code 0.
func (p *process) wantEnd(t testing.TB) {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case err := <-p.done:
		if err != nil {
			t.Errorf("the node ended with %v, want exit code 0", err)
		}
	case <-limit.C:
		t.Error("the node does not end")
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestImageStartsServesAndStops(t *testing.T) {
	p := startImage(t, redistest.Start(t), nil)
	stages, err := dockerfile()
	if err != nil {
		t.Fatal(err)
	}
	_, command, ok := strings.Cut(only(t, stages[len(stages)-1], "HEALTHCHECK"), "CMD ")
	if !ok {
		t.Fatal("HEALTHCHECK without CMD")
	}
	check := func() error {
		said, err := container(t, map[string]string{"FLEETWIRE_OPS": p.ops}, words(t, command)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		return nil
	}
	if err := check(); err != nil {
		t.Errorf("the health check: %v", err)
	}
	conn, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", p.addr)
	if err != nil {
		t.Errorf("nobody listens: %v", err)
	} else {
		_ = conn.Close()
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.wantEnd(t)
	if err := check(); err == nil {
		t.Error("the health check passes without a node")
	}
}

// A container that cannot start says why in one line, and ends.
func TestImageWithoutConfiguration(t *testing.T) {
	said, err := container(t, nil, "/fanout").CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(said), "-apps and -redis are required") {
		t.Errorf("%v: %s", err, said)
	}
}
