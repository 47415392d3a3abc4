// Package nodejstest finds Node.js and npm packages for tests that run
// JavaScript. Where they are missing the test is skipped, and says how to get
// them.
package nodejstest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const how = "; to get it: scripts/install-test-deps, or https://nodejs.org and npm ci in "

// Path is a Node.js of at least the given version (major and minor), where the
// packages that folder/package-lock.json names are installed in folder.
func Path(t testing.TB, major, minor int, folder string) string {
	t.Helper()
	// The folder as one types it in the module's root.
	typed := strings.TrimLeft(filepath.ToSlash(folder), "./")
	out, err := exec.Command("node", "--version").Output()
	version := strings.TrimSpace(string(out))
	if err != nil {
		t.Skip("SKIPPED: no Node.js" + how + typed)
	}
	if !atLeast(version, major, minor) {
		t.Skipf("SKIPPED: Node.js is %s, not ≥ %d.%d%s%s", version, major, minor, how, typed)
	}
	if !installed(folder) {
		t.Skipf("SKIPPED: the npm packages of %s are not installed, or older ones%s%s", typed, how, typed)
	}
	return "node"
}

// atLeast reports whether a version such as "v20.19.0" is major.minor or later.
func atLeast(version string, major, minor int) bool {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return false
	}
	a, errA := strconv.Atoi(parts[0])
	b, errB := strconv.Atoi(parts[1])
	return errA == nil && errB == nil && (a > major || a == major && b >= minor)
}

// installed reports whether npm has installed what the folder's lock file says,
// by the inner lock file that npm writes when it has.
func installed(folder string) bool {
	want, errWant := packages(filepath.Join(folder, "package-lock.json"))
	have, errHave := packages(filepath.Join(folder, "node_modules", ".package-lock.json"))
	if errWant != nil || errHave != nil {
		return false
	}
	for path, p := range want {
		if path != "" && !p.Optional && have[path].Integrity != p.Integrity {
			return false
		}
	}
	return true
}

type npmPackage struct {
	Integrity string
	Optional  bool // npm leaves out those for other systems
}

// packages are a lock file's, by path; that of "" is the folder itself.
func packages(lockFile string) (map[string]npmPackage, error) {
	text, err := os.ReadFile(lockFile)
	if err != nil {
		return nil, err
	}
	var lock struct{ Packages map[string]npmPackage }
	return lock.Packages, json.Unmarshal(text, &lock)
}
