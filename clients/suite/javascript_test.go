package suite

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fleetwire/pkg/nodejstest"
)

const javaScriptClient = "../js"

// ownWebSocket has Node.js 20 offer the WebSocket that later versions have. Browsers have the same one.
const ownWebSocket = "--experimental-websocket"

// TestJavaScript puts the client for JavaScript through the suite.
func TestJavaScript(t *testing.T) {
	runSuite(t, []string{nodePath(t), ownWebSocket, "--no-warnings", "clients/js/test/driver.mjs"})
}

// nodePath is a Node.js that can run the client and its tests.
func nodePath(t *testing.T) string {
	t.Helper()
	return nodejstest.Path(t, 20, 11, javaScriptClient)
}

// javaScript runs a program in a directory, and wants it to succeed.
func javaScript(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestJavaScriptUnits runs the client's own tests: of its parts, on a clock that they set, of real sockets, of the types
// and of the package.
func TestJavaScriptUnits(t *testing.T) {
	t.Parallel()
	node := nodePath(t)
	files, err := filepath.Glob(filepath.Join(javaScriptClient, "test", "*.test.js"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests are there: %v", err)
	}
	args := []string{ownWebSocket, "--test", "--test-reporter=tap"}
	for _, file := range files {
		args = append(args, "test/"+filepath.Base(file))
	}
	out := javaScript(t, javaScriptClient, node, args...)
	for _, none := range []string{"fail", "cancelled", "skipped", "todo"} {
		if !strings.Contains(out, "\n# "+none+" 0\n") {
			t.Errorf("the summary does not say that none is %s:\n%s", none, out)
		}
	}
	// A file that Node.js does not take for a test would pass in silence.
	for _, test := range []string{"close code 4020", "Node.js: connects with a header", "the package ws: connects with a header", "tsc accepts a program", "npm packs what the package needs"} {
		if !strings.Contains(out, " - "+test) {
			t.Errorf("the test %q has not run:\n%s", test, out)
		}
	}
}

// TestJavaScriptReadme tells the README's story with the package as npm packs it.
func TestJavaScriptReadme(t *testing.T) {
	t.Parallel()
	node := nodePath(t)
	readme := filepath.Join(javaScriptClient, "README.md")
	dir := readmePrograms(t, readme, "js", "//")
	npm := func(in string, args ...string) string {
		args = append(args, "--offline", "--no-audit", "--no-fund", "--loglevel=error", "--cache", filepath.Join(dir, "cache"))
		return strings.TrimSpace(javaScript(t, in, "npm", args...))
	}
	packed := npm(javaScriptClient, "pack", "--pack-destination", dir)
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"private":true}`), 0o600); err != nil {
		t.Fatal(err)
	}
	npm(dir, "install", "./"+packed)
	tellStory(t, readme, dir, node, "NODE_OPTIONS="+ownWebSocket+" --no-warnings")
}
