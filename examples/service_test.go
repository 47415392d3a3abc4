package examples

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const root = ".."

// binDir is where built programs go; TestMain removes it.
var binDir string

func TestMain(m *testing.M) {
	code := func() int {
		dir, err := os.MkdirTemp("", "fleetwire-examples-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binDir = dir
		return m.Run()
	}()
	os.Exit(code)
}

// built compiles the programs that are written in Go, once, and returns the path
// of one.
func built(t *testing.T, name string) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(binDir, name)
}

var build = sync.OnceValue(func() error {
	// go test caches a result as long as the files that the test has looked at
	// stay the same. The sources that the programs are made of are among them.
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		return err
	}
	// Without VCS stamps: they fail in a checkout that belongs to another user.
	cmd := exec.Command("go", "build", "-race", "-buildvcs=false", "-o", binDir+string(filepath.Separator),
		"./localdev", "./examples/go/camera", "./examples/go/socket", "./examples/go/twin", "./examples/go/dashboard", "./examples/go/ingester", "./examples/go/fleetlog")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
})

const (
	keyID  = "sk_live_0123456789abcdef01234567"
	secret = "89abcdef0123456789abcdef0123456789abcdef01234567"
)

// A service is one localdev process: a node and a control plane.
type service struct {
	*process
	url string
}

// startService starts localdev on the given address (host:0 picks a port), on the
// Redis at redisURL, or on an embedded one when that is "".
func startService(t *testing.T, name, listen, redisURL string) *service {
	t.Helper()
	return startServiceWith(t, name, listen, redisURL, "")
}

// startServiceWith starts localdev with more groups in its document than the one for ingesters.
func startServiceWith(t *testing.T, name, listen, redisURL, groups string, more ...string) *service {
	t.Helper()
	doc := filepath.Join(t.TempDir(), "apps.json")
	if err := os.WriteFile(doc, []byte(`{"apps":[{"id":"app_story","groups":[{"name":"ingest","patterns":["devices/*/events"]}`+groups+`],"history":[
		{"pattern":"devices/*/desired","size":1,"ttlSec":604800},{"pattern":"devices/*/reported","size":1,"ttlSec":604800},
		{"pattern":"devices/*/state","size":1,"ttlSec":604800},{"pattern":"fleets/*/log","size":100,"ttlSec":86400}],"keys":[
		{"id":"`+keyID+`","secret":"`+secret+`","channelPatterns":["devices/**","fleets/**"],"actions":["publish","subscribe"]}
	]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{built(t, "localdev"), "-listen", listen, "-ops", "127.0.0.1:0", "-apps", doc, "-drain", "100ms"}
	if redisURL != "" {
		args = append(args, "-redis", redisURL)
	}
	p := start(t, name, nil, append(args, more...)...)
	const prefix = "listening on "
	l := p.await(t, "line with its address", 1, func(l line) bool { return strings.HasPrefix(l.text, prefix) })
	return &service{process: p, url: strings.TrimPrefix(l.text, prefix)}
}

// shutDown stops the service, and wants a clean end: exit code 0 (the race
// detector's is 66), and neither secrets nor tokens in the log.
func (s *service) shutDown(t *testing.T) {
	t.Helper()
	s.stop(t)
	if code := s.wait(t); code != 0 {
		t.Errorf("%s ended with exit code %d, want 0", s.name, code)
	}
	log := s.stderr()
	for what, text := range map[string]string{"the secret": secret, "a token": "eyJ"} {
		if strings.Contains(log, text) {
			t.Errorf("%s's log has %s in it", s.name, what)
		}
	}
}
