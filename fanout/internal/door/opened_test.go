package door

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// A second's first connects are told one by one, the others as a number; at level
// debug all are.
func TestConnectsAreTold(t *testing.T) {
	for level, want := range map[slog.Level]int{slog.LevelInfo: openedLines, slog.LevelDebug: 1000} {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			c := &openedLog{log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))}
			app := &apps.App{ID: "app_a"}
			grant := &auth.Grant{App: app, Key: &apps.Key{ID: "sk_a", App: app}, Peer: "camera-1"}
			for range 3 {
				out.Reset()
				for i := range 1000 {
					c.tell(uint64(i), grant, "192.0.2.1")
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if n := strings.Count(out.String(), `msg="connection opened" app=app_a peer=camera-1 key=sk_a connection=`); n != want {
					t.Errorf("%v: %d connects are told, want %d", level, n, want)
				}
				if !strings.HasSuffix(out.String(), "connections=990\n") {
					t.Errorf("%v: the others are not counted", level)
				}
			}

			out.Reset()
			c.tell(1, grant, "192.0.2.1")
			time.Sleep(time.Second)
			synctest.Wait()
			if n := strings.Count(out.String(), "\n"); n != 1 {
				t.Errorf("%v: one connect took %d lines", level, n)
			}
			for range openedLines + 1 {
				c.tell(1, grant, "192.0.2.1")
			}
			c.end()
			c.end()
			if !strings.HasSuffix(out.String(), "connections=1\n") {
				t.Errorf("%v: not told at the end", level)
			}
		})
	}
}
