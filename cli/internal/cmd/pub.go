package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fleetwire/clients/go/client"
)

const (
	// manyAtOnce is how many messages one request publishes.
	manyAtOnce = 100
	// manyBytes is what they have together at most, well within what a request may have.
	manyBytes = 128 << 10
	// maxLine is more than a message may have.
	maxLine = 64 << 10
)

// publishing is what pub has been asked for.
type publishing struct {
	from, metadata, key, position string
	text                          bool
}

func (c *cli) pubCommand() *cobra.Command {
	p := &publishing{}
	command := &cobra.Command{
		Use: "pub CHANNEL DATA", Short: "Publish a message",
		Long: `Publishes DATA, any JSON value, to a channel. With - it publishes each line of standard input, in order.
A message whose answer is lost is sent again and published once. Protocol §5.`,
		Example: `  fleetwire pub devices/camera-001/settings '{"fps":12}'
  fleetwire pub devices/camera-001/settings --text hello
  tail -f events.ndjson | fleetwire pub devices/camera-001/events -`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			message, err := p.message(args[0])
			if err != nil {
				return err
			}
			service, err := c.service(cmd.Context())
			if err != nil {
				return err
			}
			if args[1] == "-" {
				return c.publishLines(cmd.Context(), service, p, message)
			}
			if message.Data, err = p.data(args[1]); err != nil {
				return err
			}
			return c.publishOne(cmd.Context(), service, message)
		},
	}
	flags := command.Flags()
	flags.StringVar(&p.from, "from", "", "who the message says it is from (\"server\" if it is left out)")
	flags.StringVar(&p.metadata, "metadata", "", "a JSON object for subscribers that ask for their senders' metadata")
	flags.StringVar(&p.key, "idempotency-key", "", "publish once in 10 minutes, however often this is run with the key")
	flags.StringVar(&p.position, "if", "", "publish only if this, EPOCH:OFFSET, is the channel's newest position (protocol §9)")
	flags.BoolVar(&p.text, "text", false, "DATA is a text, not JSON")
	return command
}

// message is what all messages have in common.
func (p *publishing) message(channel string) (client.Outgoing, error) {
	m := client.Outgoing{Channel: channel, From: p.from, IdempotencyKey: p.key}
	metadata, err := jsonObject("pub", "metadata", p.metadata)
	if err != nil {
		return m, err
	}
	if metadata != nil {
		m.Metadata = metadata
	}
	if p.position != "" {
		at, err := position("pub", "if", p.position)
		if err != nil {
			return m, err
		}
		m.If = &at
	}
	return m, nil
}

func (p *publishing) data(text string) (json.RawMessage, error) {
	if p.text {
		return json.Marshal(text)
	}
	if !json.Valid([]byte(text)) {
		return nil, usagef("pub", "%q is not JSON; quote it, as in '{\"fps\":12}', or give --text to send it as a text", cut(text))
	}
	return json.RawMessage(text), nil
}

func (c *cli) publishOne(ctx context.Context, service *client.REST, m client.Outgoing) error {
	done, err := service.PublishMessage(ctx, m)
	if err != nil {
		return err
	}
	if c.json {
		return c.out.JSON(struct {
			Channel     string `json:"channel"`
			Subscribers int64  `json:"subscribers"`
			Epoch       string `json:"epoch,omitempty"`
			Offset      uint64 `json:"offset,omitempty"`
		}{m.Channel, done.Subscribers, done.Position.Epoch, done.Position.Offset})
	}
	at := ""
	if done.Position.Offset > 0 {
		at = fmt.Sprintf(", at offset %d of epoch %s", done.Position.Offset, done.Position.Epoch)
	}
	return c.out.Line("published; subscribers by name: %d%s", done.Subscribers, at)
}

// publishLines publishes the lines of standard input, as many in one request as have come.
func (c *cli) publishLines(ctx context.Context, service *client.REST, p *publishing, m client.Outgoing) error {
	if p.key != "" || m.If != nil {
		return usagef("pub", "--idempotency-key and --if are for one message; leave them out with -")
	}
	lines, failed := c.lines(ctx)
	total := 0
	for batch := nextBatch(ctx, lines); len(batch) > 0; batch = nextBatch(ctx, lines) {
		published, err := publishBatch(ctx, service, p, m, batch)
		if total += published; err != nil {
			return c.stopped(ctx, total, err)
		}
	}
	err := ctx.Err() // then the reader may still wait for a line
	if err == nil {
		err = failed()
	}
	if err != nil {
		return c.stopped(ctx, total, err)
	}
	if c.json {
		return c.out.JSON(map[string]any{"channel": m.Channel, "published": total})
	}
	return c.out.Line("published %d messages", total)
}

// stopped says how far the publishing came before an error, or before a person interrupted it.
func (c *cli) stopped(ctx context.Context, total int, err error) error {
	if isInterrupted(ctx, err) {
		_ = c.err.Line("%d messages are published", total)
		return err
	}
	return fmt.Errorf("%d messages are published: %w", total, err)
}

// publishBatch publishes lines with one request. An error is that of the first line that failed.
func publishBatch(ctx context.Context, service *client.REST, p *publishing, m client.Outgoing, batch []line) (published int, err error) {
	messages := make([]client.Outgoing, len(batch))
	for i, line := range batch {
		messages[i] = m
		if messages[i].Data, err = p.data(line.text); err != nil {
			return 0, fmt.Errorf("line %d: %v", line.number, err) // not the command line is wrong
		}
	}
	results, err := service.PublishMany(ctx, messages)
	if err != nil {
		return 0, err
	}
	for i, result := range results {
		switch {
		case result.Err == nil:
			published++
		case err == nil:
			err = fmt.Errorf("line %d: %w", batch[i].number, result.Err)
		}
	}
	return published, err
}

// line is a line of standard input.
type line struct {
	number int // from 1
	text   string
}

// lines reads standard input, without empty lines. Once lines is closed, failed says why the
// input could not be read.
func (c *cli) lines(ctx context.Context) (lines <-chan line, failed func() error) {
	read := make(chan line, manyAtOnce)
	var err error
	go func() {
		defer close(read)
		scanner := bufio.NewScanner(c.In)
		scanner.Buffer(nil, maxLine)
		for number := 1; scanner.Scan(); number++ {
			text := scanner.Text()
			if strings.TrimSpace(text) == "" {
				continue
			}
			select {
			case read <- line{number, text}:
			case <-ctx.Done():
				return
			}
		}
		if err = scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("the next line is longer than %d bytes; a message may have 32 KiB", maxLine)
		}
	}()
	return read, func() error { return err }
}

// nextBatch waits for a line, and adds those that have come meanwhile; it is empty at the end
// of the input.
func nextBatch(ctx context.Context, lines <-chan line) (batch []line) {
	bytes := 0
	for len(batch) < manyAtOnce && bytes < manyBytes {
		var next line
		var ok bool
		if len(batch) == 0 {
			select {
			case next, ok = <-lines:
			case <-ctx.Done():
			}
		} else {
			select {
			case next, ok = <-lines:
			default:
			}
		}
		if !ok {
			break
		}
		batch, bytes = append(batch, next), bytes+len(next.text)
	}
	return batch
}

// cut is a text that is short enough for an error.
func cut(text string) string {
	const most = 60
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
