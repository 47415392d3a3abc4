package goclient_test

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fleetwire/clients/go/client"
)

// The programs of the client's README work as they stand there, in a module that has the client
// as the README says, and that needs nothing of the service.
func TestReadmePrograms(t *testing.T) {
	programs := readmePrograms(t)
	dir := outsideModule(t)
	if modules := goCommand(t, dir, "list", "-m", "all"); strings.Count(modules, "\n") > 5 || !strings.Contains(modules, "fleetwire/clients/go v0.0.0") {
		t.Errorf("the graph of a program with the client is\n%s\nwant the program, the client, gobwas/ws, gobwas/httphead and x/time", modules)
	}
	s := newService(t, "")
	token, _, err := s.rest().MintToken(background(t), client.TokenRequest{Peer: "camera-001", Channels: []string{"devices/camera-001/*"}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	environment := append(os.Environ(), "FLEETWIRE_URL="+s.url, "FLEETWIRE_SECRET_KEY="+secretKey, "FLEETWIRE_TOKEN="+token)
	run := func(name string) *bufio.Scanner {
		cmd := exec.CommandContext(background(t), filepath.Join(dir, name))
		cmd.Env = environment
		return started(t, cmd)
	}
	for i, name := range []string{"device", "ingester", "backend"} {
		if lines := len(regexp.MustCompile(`\n+`).FindAllString(programs[i], -1)); lines > 20 {
			t.Errorf("the %s has %d lines that are not blank, want at most 20", name, lines)
		}
		file := filepath.Join(dir, name+".go")
		if err := os.WriteFile(file, []byte(programs[i]), 0o600); err != nil {
			t.Fatal(err)
		}
		goCommand(t, dir, "build", "-o", name, file)
	}
	run("device")
	if events := run("ingester"); !events.Scan() || !strings.Contains(events.Text(), `"Channel":"devices/camera-001/events"`) || !strings.Contains(events.Text(), `"Data":"motion"`) {
		t.Errorf("the ingester printed %q %v", events.Text(), events.Err())
	}
	if answers := run("backend"); !answers.Scan() || answers.Text() != `camera-001 succeeded {"done":"reboot"}` {
		t.Errorf("the backend printed %q %v", answers.Text(), answers.Err())
	}
}

// readmePrograms are the Go programs of the client's README: device, ingester, backend.
func readmePrograms(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "clients/go/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var programs []string
	for _, found := range regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		programs = append(programs, found[1])
	}
	if len(programs) != 3 {
		t.Fatalf("%d Go programs in the README, want 3", len(programs))
	}
	return programs
}

// outsideModule makes a module that requires the client as the README says, and nothing else.
func outsideModule(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	path, err := filepath.Abs(filepath.Join(root, "clients/go"))
	if err != nil {
		t.Fatal(err)
	}
	goCommand(t, dir, "mod", "init", "example.com/fleet")
	goCommand(t, dir, "mod", "edit", "-require", "fleetwire/clients/go@v0.0.0", "-replace", "fleetwire/clients/go="+path)
	sums, err := os.ReadFile(filepath.Join(path, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// goCommand runs go in a folder. Building the service has brought all modules.
func goCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off", "CGO_ENABLED=0")
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, failure.String())
	}
	return string(out)
}

// started starts a program that ends with the test, and reads what it prints.
func started(t *testing.T, cmd *exec.Cmd) *bufio.Scanner {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // killed, or done
	})
	return bufio.NewScanner(out)
}
