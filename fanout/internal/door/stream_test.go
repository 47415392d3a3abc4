package door

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// limit is how long a test waits for what must come.
const limit = 10 * time.Second

// streaming serves answers that write makes, and returns a client that has asked for one.
func streaming(t *testing.T, patience time.Duration, write func(gone context.Context, send func([]byte) error)) net.Conn {
	t.Helper()
	d := New(Options{Log: slog.New(slog.DiscardHandler)})
	d.Server().WriteTimeout = patience
	d.Mount(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(interface {
			Stream(write func(gone context.Context, send func([]byte) error))
		}).Stream(write)
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- d.Serve(l) }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		_ = d.Shutdown(ctx)
		<-served
	})
	ask(t, client)
	return client
}

func ask(t *testing.T, client net.Conn) {
	t.Helper()
	_ = client.SetDeadline(time.Now().Add(limit))
	if _, err := io.WriteString(client, "GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, what string, c <-chan error) error {
	t.Helper()
	select {
	case err := <-c:
		return err
	case <-time.After(limit):
		t.Fatal(what + " does not come")
		return nil
	}
}

// Each part of an answer comes when it is sent, and the connection goes on behind it.
func TestAnswersThatComeBitByBit(t *testing.T) {
	next := make(chan struct{}, 2)
	client := streaming(t, limit, func(_ context.Context, send func([]byte) error) {
		for _, part := range []string{"first", "second"} {
			_ = send([]byte(part))
			<-next
		}
	})
	in := bufio.NewReader(client)
	for round := range 2 {
		answer, err := http.ReadResponse(in, nil)
		if err != nil || answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" || answer.Close {
			t.Fatal(answer, err)
		}
		for _, part := range []string{"first", "second"} {
			got := make([]byte, len(part))
			if _, err := io.ReadFull(answer.Body, got); err != nil || string(got) != part {
				t.Fatalf("%q, %v", got, err)
			}
			next <- struct{}{}
		}
		if rest, err := io.ReadAll(answer.Body); len(rest) > 0 || err != nil {
			t.Fatalf("%q, %v", rest, err)
		}
		if round == 0 {
			ask(t, client)
		}
	}
}

// A client that hangs up is noticed, though nothing is sent.
func TestStreamsWhoseClientsHangUp(t *testing.T) {
	ended := make(chan error, 1)
	client := streaming(t, limit, func(gone context.Context, send func([]byte) error) {
		_ = send([]byte("x"))
		<-gone.Done()
		ended <- gone.Err()
	})
	if _, err := http.ReadResponse(bufio.NewReader(client), nil); err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	if err := await(t, "the end", ended); err == nil {
		t.Error("it goes on")
	}
}

// HOSTILE: a client that does not read holds the stream for no longer than the server's patience.
func TestStreamsWhoseClientsDoNotRead(t *testing.T) {
	ended := make(chan error, 1)
	streaming(t, 50*time.Millisecond, func(gone context.Context, send func([]byte) error) {
		for {
			if err := send([]byte(strings.Repeat("x", 64<<10))); err != nil {
				ended <- err
				return
			}
			if gone.Err() != nil {
				ended <- errors.New("gone")
				return
			}
		}
	})
	if err := await(t, "the end", ended); err == nil {
		t.Error("it goes on")
	}
}

// A panic ends its stream alone.
func TestStreamsThatPanic(t *testing.T) {
	client := streaming(t, limit, func(context.Context, func([]byte) error) { panic("x") })
	answer, err := http.ReadResponse(bufio.NewReader(client), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(answer.Body)
}
