package stack_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"fleetwire/localdev/stack"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

// Everything in one process, on a Redis that speaks TLS alone and wants a certificate.
func TestRedisByTLS(t *testing.T) {
	a := redistest.NewAuthority(t)
	server := a.StartSecured(true, nil)
	cert, key := a.Issue(nil)
	dir, err := apps.Parse([]byte(document))
	check(t, err)
	opt := stack.Options{
		Listen: "127.0.0.1:0", Apps: apps.NewStore(dir), Redis: server.URL(),
		RedisTLS: redisconn.TLS{CA: a.File, Cert: cert, Key: key}, Log: slog.New(slog.DiscardHandler),
	}
	ctx, stop := context.WithCancel(t.Context())
	s, err := stack.New(ctx, opt)
	check(t, err)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	redistest.Eventually(t, patience, "ready", s.Node.Ready)
	_, in := open(t, s.Node.Addr(), "POST /v1/channels/devices%2Fa/publish HTTP/1.1\r\nHost: x\r\n"+credential+"Content-Type: application/json\r\nContent-Length: 10\r\n\r\n"+`{"data":1}`)
	wantAnswer(t, in, 200, `"subscribers":0`)
	stop()
	check(t, <-ended)

	opt.RedisTLS.CA = cert // a certificate, and none of a CA
	if _, err := stack.New(t.Context(), opt); err == nil || !strings.HasPrefix(err.Error(), "-redis: ") {
		t.Errorf("a wrong CA: %v", err)
	}
}
