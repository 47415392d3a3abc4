//go:build linux

package system

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// Machine is what a reader of the figures has to know about where they come from.
func Machine() map[string]string {
	m := map[string]string{
		"cores": fmt.Sprint(runtime.NumCPU()),
		"go":    runtime.Version(),
		"files": fmt.Sprint(MaxConnections() + 200),
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m["linux"] = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m["cpu"] = strings.TrimSpace(value)
				break
			}
		}
	}
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		m["memory"] = fmt.Sprintf("%.0f GiB", float64(info.Totalram)*float64(info.Unit)/(1<<30))
	}
	for name, args := range map[string][]string{
		"redis-server": {"--version"}, "nats-server": {"--version"}, "mosquitto": {"-h"},
	} {
		if program := find(name); program != "" {
			text, _ := exec.Command(program, args...).CombinedOutput() // mosquitto -h exits with 1
			first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
			m[name] = first
		}
	}
	for name, program := range map[string]string{NATS215: peerNATS, Centrifugo: peerCentrifugo} {
		if path := find(program); path != "" {
			m[name] = moduleVersion(path)
		}
	}
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		m["fleetwire"] = strings.TrimSpace(string(out))
	}
	return m
}

// AvailableMemory is how many bytes processes can take until the machine has none left.
func AvailableMemory() int64 {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	n, _ := parseKilobytes(b, "MemAvailable:")
	return n
}
