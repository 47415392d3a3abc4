// Ingester appends the events of all devices to a file, one JSON object a line. The service
// keeps each event for the group until the ingester acknowledges it, so none is lost while no
// ingester runs, or when this one crashes; several share the work.
//
//	go run ./examples/go/ingester -out events.ndjson
//
// It mints its own token with FLEETWIRE_SECRET_KEY. The group is that of the app's document:
// {"groups":[{"name":"ingest","patterns":["devices/*/events"]}]}.
package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"fleetwire/clients/go/client"
)

// A record is a line of the file. One with an attempt over 1 may be there already, from
// before a crash.
type record struct {
	Channel     string          `json:"channel"`
	From        string          `json:"from"`
	PublishedAt time.Time       `json:"publishedAt"`
	Attempt     int             `json:"attempt"`
	Data        json.RawMessage `json:"data"`
}

func main() {
	group := flag.String("group", "ingest", "the `group` of the app's document")
	pattern := flag.String("pattern", "devices/*/events", "the `pattern` of the group")
	out := flag.String("out", "events.ndjson", "the `file` to append to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *group, *pattern, *out); !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "ingester:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, group, pattern, path string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	service := client.REST{
		BaseURL:   cmp.Or(os.Getenv("FLEETWIRE_URL"), "http://127.0.0.1:8080"),
		SecretKey: os.Getenv("FLEETWIRE_SECRET_KEY"),
	}
	ingester, err := client.New(client.Options{
		URL:   service.BaseURL,
		Token: service.Tokens(client.TokenRequest{Peer: "ingester", Channels: []string{pattern}, Permissions: []string{"subscribe"}}),
	})
	if err != nil {
		return err
	}
	defer ingester.Close()
	return ingester.Group(ctx, group, func(_ context.Context, events []client.Event) error {
		return store(file, events)
	})
}

// store writes events in one go. They are acknowledged when the disk has them.
func store(file *os.File, events []client.Event) error {
	var lines bytes.Buffer
	out := json.NewEncoder(&lines)
	for _, e := range events {
		if err := out.Encode(record{e.Channel, e.From, e.PublishedAt, e.Attempt, e.Data}); err != nil {
			return err
		}
	}
	if _, err := file.Write(lines.Bytes()); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	fmt.Printf("{\"event\":\"stored\",\"events\":%d}\n", len(events))
	return nil
}
