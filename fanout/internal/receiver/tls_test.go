package receiver_test

import (
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// TestByTLS: commands and the link go to a Redis that speaks TLS alone, and wants
// certificates; also when they are made anew.
func TestByTLS(t *testing.T) {
	t.Parallel()
	server := redistest.NewAuthority(t).StartSecured(true, nil)
	p := start(t, server, "node", patient)
	p.subscribed()
	expectBack(t, p)
	if err := server.Client().Do(t.Context(), "client", "kill", "type", "pubsub").Err(); err != nil {
		t.Fatal(err)
	}
	redistest.Eventually(t, gone, "the node notices", func() bool { return p.log.with(linkDown) == 1 })
	expectBack(t, p)
	server.Restart()
	redistest.Eventually(t, gone, "the node notices a restart", func() bool { return p.log.with(linkDown) == 2 })
	expectBack(t, p)
}
