//go:build linux

package system

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"

	"fleetwire/pkg/apps"
)

// Env is what all systems are started with.
type Env struct {
	Dir     string // for programs, configurations and logs; the caller removes it
	key     *apps.Key
	hostile *apps.Key // of an app of its own
	apps    string    // path of the apps document
	started int
}

// NewEnv builds fanout and localdev from the module in the current directory
// into dir, as the Dockerfile does, and writes an apps document whose limits are out of the way.
func NewEnv(dir string) (*Env, error) {
	if err := raiseOpenFiles(); err != nil {
		return nil, err
	}
	root := moduleRoot()
	if root == "" {
		return nil, errors.New("go list -m names no module: run the benchmark inside the repository")
	}
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", dir+string(filepath.Separator), "./fanout", "./localdev")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	e := &Env{Dir: dir, apps: filepath.Join(dir, "apps.json")}
	document := appsDocument()
	directory, err := apps.Parse(document)
	if err != nil {
		return nil, fmt.Errorf("the benchmark's apps document: %w", err)
	}
	e.key, e.hostile = directory.Apps()[0].Keys[0], directory.Apps()[1].Keys[0]
	return e, os.WriteFile(e.apps, document, 0o600)
}

// Channels whose names begin with Last or Remembered, and a slash, remember one message or
// 100. With Centrifugo these are namespaces. Those that begin with Grouped wait for Group.
const (
	Last       = "last"
	Remembered = "remembered"
	Grouped    = "grouped"
	Group      = "ingest"
)

func appsDocument() []byte {
	const plenty = 1_000_000_000
	app := func(name string, limits map[string]any, actions ...string) map[string]any {
		id, secret := apps.GenerateKeyPair()
		return map[string]any{
			"id": name, "limits": limits,
			"plan": map[string]any{"name": "bench", "maxConcurrentConnections": plenty, "maxMessagesPerPeriod": plenty * 1000},
			"keys": []any{map[string]any{"id": id, "secret": secret, "channelPatterns": []string{"**"}, "actions": actions}},
		}
	}
	bench := app("bench", map[string]any{
		"connectionMessagesPerSec": plenty, "connectionMessagesBurst": plenty,
		"connectsPerAddressPerMin": plenty, "restPerSec": plenty, "restBurst": plenty,
	}, "publish", "subscribe", "send") // the other systems have no presence either
	bench["history"] = []any{
		map[string]any{"pattern": Last + "/**", "size": 1, "ttlSec": 3600},
		map[string]any{"pattern": Remembered + "/**", "size": 100, "ttlSec": 3600},
	}
	bench["groups"] = []any{map[string]any{"name": Group, "patterns": []string{Grouped + "/**"}, "maxBytes": plenty}}
	document, err := json.Marshal(map[string]any{"apps": []any{
		bench,
		app("hostile", map[string]any{"connectsPerAddressPerMin": plenty}, "publish", "subscribe", "presence", "send"),
	}})
	if err != nil {
		panic(err) // a map of strings and numbers
	}
	return document
}

// raiseOpenFiles raises the limit to the hard one. Said by hand, it holds for the
// processes started here too, which Go would give the old one.
func raiseOpenFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
}

// MaxConnections is how many connections one process can hold.
func MaxConnections() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return int(min(limit.Cur, 1<<20)) - 200
}

// freeAddress is a loopback address without a listener.
func freeAddress() (string, error) {
	a, err := freeAddresses(1)
	if err != nil {
		return "", err
	}
	return a[0], nil
}

// freeAddresses are so many. They lie below the ports that the kernel gives to
// outgoing connections, of which there are many.
func freeAddresses(n int) (all []string, err error) {
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		defer func() { _ = l.Close() }() // not before all are found: they differ
		if all = append(all, address); len(all) == n {
			return all, nil
		}
	}
	return nil, fmt.Errorf("no %d free ports between 20000 and 32000", n)
}

func port(address string) string {
	_, p, _ := strings.Cut(address, ":")
	return p
}

func userName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "nobody"
}
