package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// A Redis that refuses all work: the node is not ready and says why in Redis's
// words, and a node that starts exits with them.
func TestRedisRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		begin [][]any
		words string
	}{
		"a password is wanted": {[][]any{
			{"config", "set", "requirepass", "hush-hush"}, {"client", "kill", "type", "normal", "skipme", "yes"}, {"client", "kill", "type", "pubsub"},
		}, "NOAUTH "},
		"a replica without its primary": {[][]any{
			{"config", "set", "replica-read-only", "no"}, {"config", "set", "replica-serve-stale-data", "no"}, {"replicaof", "127.0.0.1", "1"},
		}, "MASTERDOWN "},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			p := startProcess(t, nil, "-redis", server.URL())
			admin := server.Client().Conn()
			defer admin.Close()
			for _, command := range tt.begin {
				if err := admin.Do(t.Context(), command...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			redistest.Eventually(t, patience, "/readyz says why", func() bool {
				r, err := http.Get("http://" + p.ops + "/readyz")
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				body, _ := io.ReadAll(r.Body)
				return r.StatusCode == http.StatusServiceUnavailable && strings.Contains(string(body), tt.words)
			})
			err := run(t.Context(), silent(), []string{"-apps", document, "-redis", server.URL()})
			if err == nil || !strings.HasPrefix(err.Error(), "-redis: "+tt.words) {
				t.Errorf("a start: %v", err)
			}
		})
	}
	http.DefaultClient.CloseIdleConnections()
}
