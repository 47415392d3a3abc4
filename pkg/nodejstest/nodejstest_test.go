package nodejstest

import (
	"os"
	"path/filepath"
	"testing"
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
	const (
		outer = `{"packages":{"":{"name":"x"},"node_modules/a":{"integrity":"sha512-1"},"node_modules/o":{"integrity":"sha512-2","optional":true}}}`
		inner = `{"packages":{"node_modules/a":{"integrity":"sha512-1"}}}`
	)
	for _, tt := range []struct {
		name, outer, inner string
		want               bool
	}{
		{"nothing there", "", "", false},
		{"before npm ci", outer, "", false},
		{"after npm ci", outer, inner, true},
		{"another version", outer, `{"packages":{"node_modules/a":{"integrity":"sha512-0"}}}`, false},
		{"one missing", outer, `{"packages":{}}`, false},
		{"one more than needed", outer, `{"packages":{"node_modules/a":{"integrity":"sha512-1"},"node_modules/b":{"integrity":"sha512-3"}}}`, true},
		{"broken off", outer, `{"packages":{"node_modules/a":{"integrity":"sha512-1"`, false},
		{"no lock file", "", inner, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			folder := t.TempDir()
			for path, text := range map[string]string{
				filepath.Join(folder, "package-lock.json"):                  tt.outer,
				filepath.Join(folder, "node_modules", ".package-lock.json"): tt.inner,
			} {
				if text == "" {
					continue
				}
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := installed(folder); got != tt.want {
				t.Errorf("installed: %v, want %v", got, tt.want)
			}
		})
	}
}
