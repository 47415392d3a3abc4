package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestVersionOf(t *testing.T) {
	at := time.Date(2026, 11, 27, 7, 2, 6, 0, time.UTC)
	for _, tt := range []struct{ last, here, want string }{
		{"", "", "v0.0.0-20261127070206-0123456789ab"},
		{"v1.2.3", "v1.2.3", "v1.2.3"},
		{"v1.2.3", "", "v1.2.4-0.20261127070206-0123456789ab"},
		{"v2.0.0-rc.1", "", "v2.0.0-rc.1.0.20261127070206-0123456789ab"},
	} {
		if got := versionOf(tt.last, tt.here, "0123456789abcdef0123456789abcdef01234567", at); got != tt.want {
			t.Errorf("after %q, at %q: %s, want %s", tt.last, tt.here, got, tt.want)
		}
	}
}

// A release is of a commit: changes are refused, and so is a version that is none.
func TestReadSource(t *testing.T) {
	root := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", root, "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
	}
	git("init", "-q")
	git("commit", "-q", "--allow-empty", "-m", "first")
	git("tag", "v1.2.3")
	if s, err := readSource(root, "", false); err != nil || s.version != "v1.2.3" || len(s.commit) != 40 {
		t.Errorf("at a tag: %+v, %v", s, err)
	}
	git("commit", "-q", "--allow-empty", "-m", "second")
	if s, err := readSource(root, "", false); err != nil || !strings.HasPrefix(s.version, "v1.2.4-0.") {
		t.Errorf("after a tag: %+v, %v", s, err)
	}
	for _, wrong := range []string{"1.2.3", "v1.2", "latest"} {
		if _, err := readSource(root, wrong, false); err == nil || !strings.Contains(err.Error(), "is not like v1.2.3") {
			t.Errorf("version %s: %v", wrong, err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "new"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readSource(root, "", false); err == nil || !strings.Contains(err.Error(), "has changes") {
		t.Errorf("with changes: %v", err)
	}
	if s, err := readSource(root, "v2.0.0", true); err != nil || s.version != "v2.0.0+dirty" {
		t.Errorf("with changes, for a try: %+v, %v", s, err)
	}
}
