package nodetest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAtLeast(t *testing.T) {
	for _, tt := range []struct {
		version string
		want    bool
	}{
		{"v20.19.0", true},
		{"v20.20.2", true},
		{"v22.0.0", true},
		{"v20.18.3", false},
		{"v18.99.0", false},
		{"20.19", true},
		{"", false},
		{"v20", false},
		{"vx.19.0", false},
		{"v20.x.0", false},
	} {
		if got := atLeast(tt.version, 20, 19); got != tt.want {
			t.Errorf("%q is at least 20.19: %v, want %v", tt.version, got, tt.want)
		}
	}
}

func TestInstalled(t *testing.T) {
	folder := t.TempDir()
	lock, inner := filepath.Join(folder, "package-lock.json"), filepath.Join(folder, "node_modules", ".package-lock.json")
	want := func(yes bool, when string) {
		t.Helper()
		if installed(folder) != yes {
			t.Errorf("installed %s: %v", when, !yes)
		}
	}
	write := func(path string, when time.Time) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	want(false, "in an empty folder")
	write(lock, now)
	want(false, "before npm ci")
	write(inner, now.Add(time.Second))
	want(true, "after npm ci")
	write(lock, now.Add(time.Minute))
	want(false, "after the lock file has changed")
}
