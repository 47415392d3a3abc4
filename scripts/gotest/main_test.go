package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRun runs the real go test on small modules: what is checked is what a
// person reads of it, and the exit code that CI goes by.
func TestRun(t *testing.T) {
	passing := map[string]string{
		"good/good_test.go": `package good
import ("fmt"; "testing")
func TestGood(t *testing.T) { fmt.Println("noise of a passing test"); t.Run("sub", func(t *testing.T) {}) }
`,
		"empty/empty.go": "package empty\n",
	}
	tests := []struct {
		name     string
		files    map[string]string
		args     []string
		wantCode int
		wantLast string
		want     []string // in the output
		wantNot  []string // not in the output
	}{
		{
			name:     "all pass",
			wantLast: "2 passed, 0 failed",
			want:     []string{"ok  \tsample/good"},
			wantNot:  []string{"noise of a passing test", "sample/empty"},
		},
		{
			name: "a skip says its reason",
			files: map[string]string{"skips/s_test.go": `package skips
import "testing"
func TestS(t *testing.T) { t.Skip("SKIPPED: no such thing (get it there)") }
`},
			wantLast: "2 passed, 0 failed, 1 skipped",
			want:     []string{"skip\tsample/skips TestS", "SKIPPED: no such thing (get it there)"},
		},
		{
			name: "a failure shows its output",
			files: map[string]string{"bad/b_test.go": `package bad
import "testing"
func TestB(t *testing.T) { t.Run("a case", func(t *testing.T) { t.Error("three is not four") }) }
`},
			wantCode: 1,
			wantLast: "2 passed, 2 failed",
			want:     []string{"FAIL\tsample/bad TestB/a_case", "three is not four", "FAIL\tsample/bad"},
			wantNot:  []string{"=== RUN"},
		},
		{
			name:     "a package that does not compile",
			files:    map[string]string{"broken/b_test.go": "package broken\nvar x = undefinedThing\n"},
			wantCode: 1,
			wantLast: "2 passed, 1 failed",
			want:     []string{"undefined: undefinedThing", "FAIL\tsample/broken [build failed]"},
		},
		{
			name: "a package that fails after its tests passed",
			files: map[string]string{"leaks/l_test.go": `package leaks
import ("os"; "testing")
func TestMain(m *testing.M) { m.Run(); os.Stdout.WriteString("a goroutine leaked\n"); os.Exit(1) }
func TestL(t *testing.T) {}
`},
			wantCode: 1,
			wantLast: "3 passed, 1 failed",
			want:     []string{"a goroutine leaked"},
		},
		{
			name: "the race detector does not sleep, and takes the caller's options",
			files: map[string]string{"race/r_test.go": `package race
import ("os"; "testing")
func TestR(t *testing.T) {
	if got := os.Getenv("GORACE"); got != "atexit_sleep_ms=0 halt_on_error=1" { t.Errorf("GORACE=%q", got) }
}
`},
			wantLast: "3 passed, 0 failed",
		},
		{
			name: "a test that never ends",
			files: map[string]string{"hangs/h_test.go": `package hangs
import "testing"
func TestH(t *testing.T) { select {} }
`},
			args:     []string{"-timeout=1s"},
			wantCode: 1,
			wantLast: "2 passed, 1 failed",
			want:     []string{"FAIL\tsample/hangs TestH", "test timed out after 1s"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			files := map[string]string{"go.mod": "module sample\n\ngo 1.24\n"}
			maps.Copy(files, passing)
			maps.Copy(files, tt.files)
			for name, text := range files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			t.Chdir(dir)
			summaryFile := filepath.Join(t.TempDir(), "summary")
			t.Setenv("FLEETWIRE_TEST_SUMMARY", summaryFile)
			t.Setenv("GORACE", "halt_on_error=1")

			var out bytes.Buffer
			code, err := run(append(tt.args, "./..."), &out)
			if err != nil {
				t.Fatal(err)
			}
			text := out.String()
			if code != tt.wantCode {
				t.Errorf("exit code %d, want %d", code, tt.wantCode)
			}
			lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			if last := lines[len(lines)-1]; last != tt.wantLast {
				t.Errorf("last line %q, want %q", last, tt.wantLast)
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%q is missing", want)
				}
			}
			for _, not := range tt.wantNot {
				if strings.Contains(text, not) {
					t.Errorf("%q should not be shown", not)
				}
			}
			if b, err := os.ReadFile(summaryFile); err != nil || string(b) != tt.wantLast+"\n" {
				t.Errorf("summary file holds %q (%v), want %q", b, err, tt.wantLast)
			}
			if t.Failed() {
				t.Logf("output:\n%s", text)
			}
		})
	}
}

func TestRunWithoutGo(t *testing.T) {
	t.Setenv("GO", filepath.Join(t.TempDir(), "no-such-go"))
	code, err := run(nil, &bytes.Buffer{})
	if err == nil || code == 0 {
		t.Fatalf("code %d, error %v; want a failure", code, err)
	}
}
