package aws

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

const (
	module = "../.."
	events = module + "/functions/internal/lambda/testdata"
	// patience is how long anything may take before a test gives up on it.
	patience = 30 * time.Second
)

// built holds what the tests have built, once.
var built struct {
	dir string
	mu  sync.Mutex
	of  map[string]func() (string, error)
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "fleetwire-aws-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		built.dir, built.of = dir, map[string]func() (string, error){}
		return m.Run()
	}())
}

// once runs build the first time that name is asked for.
func once(t testing.TB, name string, build func() (string, error)) string {
	t.Helper()
	built.mu.Lock()
	run, ok := built.of[name]
	if !ok {
		run = sync.OnceValues(build)
		built.of[name] = run
	}
	built.mu.Unlock()
	path, err := run()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// bootstrap is the binary out of a function's zip, as `make package` makes it.
func bootstrap(t testing.TB, function, arch string) string {
	t.Helper()
	return once(t, function+"/"+arch, func() (string, error) {
		out := filepath.Join(built.dir, arch)
		cmd := exec.Command("go", "run", "-trimpath", "./scripts/package", "-arch", arch, "-out", out, function)
		cmd.Dir = module
		if said, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("packaging %s: %w\n%s", function, err, said)
		}
		return unzip(filepath.Join(out, function+".zip"), filepath.Join(out, function))
	})
}

// unzip takes the bootstrap out, with the mode that the zip gives it.
func unzip(file, dir string) (string, error) {
	z, err := zip.OpenReader(file)
	if err != nil {
		return "", err
	}
	defer z.Close()
	r, err := z.Open("bootstrap")
	if err != nil {
		return "", err
	}
	defer r.Close()
	var content bytes.Buffer
	if _, err := io.Copy(&content, r); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "bootstrap")
	return path, os.WriteFile(path, content.Bytes(), z.File[0].Mode())
}

// output collects what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// hostArch is this machine's, as Lambda calls it.
const hostArch = runtime.GOARCH
