package aws

import (
	"os/exec"
	"runtime"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// The functions are deployed for arm64: the same story with those binaries, where
// this machine can run them.
func TestStoryOnArm64(t *testing.T) {
	if runtime.GOARCH == "arm64" {
		t.Skip("SKIPPED: TestStory ran the arm64 build already: this machine is arm64")
	}
	var emulator string
	for _, name := range []string{"qemu-aarch64-static", "qemu-aarch64"} {
		if path, err := exec.LookPath(name); err == nil {
			emulator = path
			break
		}
	}
	if emulator == "" {
		t.Skip("SKIPPED: needs qemu-aarch64-static to run the arm64 build (make test installs it where it may; else: apt-get install qemu-user-static)")
	}
	redis := redistest.Start(t)
	n := startNode(t, redis)
	story(t, n,
		start(t, environment(t, redis.URL()), emulator, bootstrap(t, "tokens", "arm64")),
		start(t, environment(t, redis.URL()), emulator, bootstrap(t, "publish", "arm64")))
}
