// Fleetlog appends a fleet's log to a file, and after a restart goes on where it was: no
// message is lost as long as the channel remembers it, and none is stored twice.
//
//	go run ./examples/go/fleetlog -fleet northeast -out northeast.ndjson
//
// Each line of the file has a message and its position, so both are stored in one write.
// With a database, that is one transaction. It mints its own token with
// FLEETWIRE_SECRET_KEY.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"fleetwire/clients/go/client"
)

// A record is a line of the file. One without data says that messages before it are missing.
type record struct {
	client.Position
	From string          `json:"from,omitempty"`
	Data json.RawMessage `json:"data,omitempty"`
}

func main() {
	fleet := flag.String("fleet", "northeast", "the `fleet` whose log is stored")
	out := flag.String("out", "fleet.ndjson", "the `file` to append to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, "fleets/"+*fleet+"/log", *out); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "fleetlog:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, channel, path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	stored, err := resume(file)
	if err != nil {
		return err
	}
	begin := client.Last(1000) // the first time: all that there is
	if stored.Epoch != "" {
		begin = client.Since(stored)
	}
	ctx, stop := context.WithCancelCause(ctx)
	store := func(r record) {
		line, err := json.Marshal(r)
		if err == nil {
			_, err = file.Write(append(line, '\n'))
		}
		if err != nil {
			stop(err) // the position stays where it is
			return
		}
		fmt.Printf("{\"event\":\"stored\",\"offset\":%d}\n", r.Offset)
	}
	service := client.REST{
		BaseURL:   cmp.Or(os.Getenv("FLEETWIRE_URL"), "http://127.0.0.1:8080"),
		SecretKey: os.Getenv("FLEETWIRE_SECRET_KEY"),
	}
	ingester, err := client.New(client.Options{
		URL:   service.BaseURL,
		Token: service.Tokens(client.TokenRequest{Peer: "ingester", Channels: []string{channel}, Permissions: []string{"subscribe"}}),
		OnGap: func(g client.Gap) {
			fmt.Printf("{\"event\":\"gap\",\"after\":%d,\"until\":%d}\n", g.After.Offset, g.Until.Offset)
			// The line without data marks the gap. The messages that are still remembered follow.
			store(record{Position: g.After})
		},
		QueueBytes: 64 << 20, // room for all that the channel remembers
	})
	if err != nil {
		return err
	}
	defer func() {
		ingester.Close()
		<-ingester.Done() // no handler writes any more
	}()
	err = ingester.Subscribe(ctx, channel, func(m client.Message) { store(record{m.Position, m.From, m.Data}) }, begin)
	if err != nil {
		return err
	}
	fmt.Printf("{\"event\":\"subscribed\",\"after\":%d}\n", stored.Offset)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-ingester.Done():
		return ingester.Err()
	}
}

// resume finds the position of the last whole line, and cuts off what a crash has left
// behind it.
func resume(file *os.File) (stored client.Position, err error) {
	whole := int64(0)
	for in := bufio.NewReader(file); ; {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return stored, err
		}
		var r record
		if err := json.Unmarshal(bytes.TrimSpace(line), &r); err != nil {
			return stored, fmt.Errorf("a line of %s is no record: %w", file.Name(), err)
		}
		stored, whole = r.Position, whole+int64(len(line))
	}
	if err := file.Truncate(whole); err != nil {
		return stored, err
	}
	_, err = file.Seek(whole, io.SeekStart)
	return stored, err
}
