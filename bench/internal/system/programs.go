//go:build linux

package system

import (
	"debug/buildinfo"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// programs are what has to be there for each system.
var programs = map[string][]string{
	Fleetwire:       {"redis-server"},
	FleetwireAOF:    {"redis-server"},
	Nodes:           {"redis-server"},
	Cluster:         {"redis-server", "redis-cli"},
	NATS:            {"nats-server"},
	NATS215:         {peerNATS},
	JetStream:       {peerNATS},
	NATSNodes:       {peerNATS},
	Centrifugo:      {peerCentrifugo, "redis-server"},
	CentrifugoNodes: {peerCentrifugo, "redis-server"},
	Mosquitto:       {"mosquitto"},
}

// The programs that make bench-peers builds, below the module's root.
const (
	peers          = "bin/peers/"
	peerNATS       = peers + "nats-server"
	peerCentrifugo = peers + "centrifugo"
)

// Absent says why a system cannot be measured on this machine, or "".
func Absent(name string) string {
	for _, program := range programs[name] {
		if find(program) != "" {
			continue
		}
		if strings.HasPrefix(program, peers) {
			return program + " is not built: make bench-peers builds it"
		}
		return program + " is not installed"
	}
	return ""
}

// find looks where Debian puts servers, too: /usr/sbin is not in everyone's PATH.
func find(program string) string {
	if strings.HasPrefix(program, peers) {
		return existing(filepath.Join(moduleRoot(), program))
	}
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	return existing(filepath.Join("/usr/sbin", program))
}

func existing(path string) string {
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// moduleRoot is the directory of the module that the benchmark runs in, "" outside.
var moduleRoot = sync.OnceValue(func() string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
})

// moduleVersion is the version of the module that a Go program was built from.
func moduleVersion(path string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return info.Main.Path + " " + info.Main.Version
}
