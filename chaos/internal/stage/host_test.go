package stage

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestRunCleansUpHoweverItEnds(t *testing.T) {
	failed := errors.New("failed")
	for _, tt := range []struct {
		name string
		end  func(testing.TB) error
		want string
	}{
		{"well", func(testing.TB) error { return nil }, ""},
		{"with an error", func(testing.TB) error { return failed }, "failed"},
		{"with Fatal", func(t testing.TB) error { t.Fatal("no", 1); return nil }, "no1"},
		{"with Fatalf", func(t testing.TB) error { t.Fatalf("no %d", 2); return nil }, "no 2"},
		{"with Skip", func(t testing.TB) error { t.Skip("SKIPPED: needs it"); return nil }, "not run: SKIPPED: needs it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var order []string
			var dir string
			err := Run(tt.name, new(strings.Builder), func(t testing.TB) error {
				dir = t.TempDir()
				t.Cleanup(func() { order = append(order, "first") })
				t.Cleanup(func() { order = append(order, "second") })
				return tt.end(t)
			})
			if errors.Is(err, ErrSkipped) != (tt.name == "with Skip") {
				t.Errorf("%v is skipped, or is not", err)
			}
			if got := strings.Join(order, " "); got != "second first" {
				t.Errorf("cleaned up %q", got)
			}
			if _, gone := os.Stat(dir); !os.IsNotExist(gone) {
				t.Errorf("its folder: %v", gone)
			}
			if (err == nil) != (tt.want == "") || err != nil && err.Error() != tt.want {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// A panic that is none of ours goes on, behind the cleanup.
func TestRunLetsAPanicThrough(t *testing.T) {
	cleaned := 0
	defer func() {
		if r := recover(); r != "boom" || cleaned != 1 {
			t.Errorf("recovered %v, cleaned up %d times", r, cleaned)
		}
	}()
	_ = Run("panics", new(strings.Builder), func(t testing.TB) error {
		t.Cleanup(func() { cleaned++ })
		panic("boom")
	})
}
