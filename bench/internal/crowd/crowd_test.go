//go:build linux

package crowd_test

import (
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"fleetwire/bench/internal/crowd"
	"fleetwire/bench/internal/floor"
	"fleetwire/bench/internal/load"
	"fleetwire/bench/internal/wire"
)

// patience ends a test that hangs.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "crowd" { // the crowd starts this very program
		if err := crowd.Serve(); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func start(t *testing.T, workers int) (*crowd.Crowd, context.Context) {
	t.Helper()
	c, err := crowd.Start(workers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return c, ctx
}

func specs(address string, n int) []load.Spec {
	all := make([]load.Spec, n)
	for i := range all {
		all[i] = load.Spec{Address: address, Opening: wire.Floor{}.Open("", nil, nil), Refusal: wire.Floor{}.Refusal()}
	}
	return all
}

func TestOneMessageReachesEveryProcess(t *testing.T) {
	const devices, workers = 25, 3
	server := httptest.NewServer(new(floor.Server))
	defer server.Close()
	address := server.Listener.Addr().String()
	c, ctx := start(t, workers)
	if err := c.Prepare(ctx, specs(address, devices)); err != nil {
		t.Fatal(err)
	}
	opened, err := c.Open(ctx, 4, patience)
	if err != nil || len(opened.Ready) != devices || opened.Failed != 0 || opened.Took <= 0 {
		t.Fatalf("opened %+v, %v; want %d", opened, err, devices)
	}

	p, err := load.NewPool(1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	publisher, err := p.Open(ctx, []load.Spec{{Address: address, Opening: wire.Floor{}.Open("", []string{"x"}, nil)}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	w, m := p.Writer(publisher.Ready[0]), wire.Floor{}.Publish("x", wire.Body(100))
	for range 2 {
		if err := c.Expect(ctx, 1); err != nil {
			t.Fatal(err)
		}
		began := load.MachineTime(load.Now())
		if err := w.Write(m, load.Now()); err != nil {
			t.Fatal(err)
		}
		last, err := c.Await(ctx, patience)
		if err != nil || last <= began || last > load.MachineTime(load.Now()) {
			t.Fatalf("written at %v, the last came at %v of %v, %v", began, last, load.MachineTime(load.Now()), err)
		}
	}
	received, problems, err := c.Count(ctx)
	if err != nil || len(received) != devices || len(problems) > 0 {
		t.Fatalf("%d connections, problems %v, %v", len(received), problems, err)
	}
	for i, n := range received {
		if n != 2 {
			t.Errorf("connection %d got %d messages, want 2", i, n)
		}
	}

	if err := c.Expect(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Await(ctx, time.Millisecond); !errors.Is(err, load.ErrStalled) {
		t.Errorf("waiting for what nobody sends: %v, want ErrStalled", err)
	}
}

func TestWhyDevicesDidNotConnect(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	c, ctx := start(t, 2)
	if err := c.Prepare(ctx, specs(closed.Addr().String(), 5)); err != nil {
		t.Fatal(err)
	}
	opened, err := c.Open(ctx, 2, patience)
	if err != nil || opened.Failed != 5 || len(opened.Problems) != 1 {
		t.Fatalf("%+v, %v; want 5 failed for one reason", opened, err)
	}
	for why, n := range opened.Problems {
		if n != 5 || !strings.Contains(why, "connection refused") {
			t.Errorf("%d × %q", n, why)
		}
	}
}

func TestAWorkerThatEndsFailsTheCall(t *testing.T) {
	c, ctx := start(t, 2)
	c.Close()
	if err := c.Expect(ctx, 1); err == nil || !strings.Contains(err.Error(), "worker 1: ") {
		t.Errorf("%v", err)
	}
}
