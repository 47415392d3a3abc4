package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
)

// rememberedCommands is for how many commands a Client knows what it has answered.
const rememberedCommands = 1000

// retryAnswer is the pause before an answer is sent again that the service's store did
// not take, at least; up to as much again is random.
const retryAnswer = time.Second

// ErrCancelled is why the context of a handler ends whose command was cancelled. Only a
// subscription with WithConfirm hears of it.
var ErrCancelled = errors.New("the command was cancelled")

// Rejected is an error with which a handler says that it will not do a command: its
// answer is "rejected" instead of "failed".
type Rejected struct{ Reason string }

func (e *Rejected) Error() string { return e.Reason }

// WithConfirm asks for commands one at a time, and for a command once more if the
// connection ends before the service knows that it was received (protocol §8.3).
func WithConfirm() SubscribeOption { return func(s *subscription) { s.confirm = true } }

// WithMessages hands the messages of the channel that are no commands to handler, as
// Subscribe does. It is for HandleCommands, which drops them otherwise.
func WithMessages(handler func(Message)) SubscribeOption {
	return func(s *subscription) { s.messages = handler }
}

// HandleCommands subscribes to a channel as Subscribe does, and has handler do the
// commands that come there, one after the other, on a goroutine of their own. The
// answer is made of what handler returns: with a nil error "succeeded" and the value, which may be
// nil, as data; with a *Rejected "rejected"; with another error "failed", and the
// error's text as data.
//
// The answer is sent until the service has it, on whatever connection there is then. A
// command that comes again is not done again: its answer is. ctx of the handler ends with
// Close, and with ErrCancelled when the command is cancelled while handler does it. A
// command that is cancelled before its turn is not done, and answered with "rejected".
// Messages of the channel that are no commands are not for handler; see WithMessages.
func (c *Client) HandleCommands(ctx context.Context, channelName string, handler func(context.Context, Command) (any, error), opts ...SubscribeOption) error {
	if handler == nil {
		return errors.New("client: HandleCommands needs a handler")
	}
	if channel.IsPattern(channelName) {
		return fmt.Errorf("client: HandleCommands: %w", &Error{Code: protocol.InvalidChannel,
			Message: "commands go to subscribers by name; " + strconv.Quote(channelName) + " is a pattern"})
	}
	h := &commandHandler{client: c, handle: handler, commands: make(chan Command, rememberedCommands)}
	return c.Subscribe(ctx, channelName, h.take, opts...)
}

// Progress answers "running", and starts the command's Timeout anew. data is for the
// caller to see.
func (c *Command) Progress(ctx context.Context, data any) error {
	if c.client == nil {
		return errors.New("client: Progress is for commands that HandleCommands hands over")
	}
	return c.client.answer(ctx, c.ID, "running", data)
}

// commandHandler does the commands of one subscription.
type commandHandler struct {
	client   *Client
	handle   func(context.Context, Command) (any, error)
	commands chan Command

	mu      sync.Mutex
	running bool // run does what is in commands
}

// take takes a message on the goroutine of handlers.
func (h *commandHandler) take(m Message) {
	if m.command == nil {
		return
	}
	cmd := Command{
		ID: m.command.id, Channel: m.Channel, From: m.From, Data: m.Data, Attempt: m.command.attempt,
		Timeout: time.Duration(m.command.timeoutMs) * time.Millisecond, client: h.client,
	}
	select {
	case h.commands <- cmd:
	case <-h.client.away:
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.running {
		h.running = true
		h.client.working.Go(h.run)
	}
}

// run does commands until there are none.
func (h *commandHandler) run() {
	for {
		select {
		case <-h.client.away:
			return
		case cmd := <-h.commands:
			h.do(cmd)
		default:
			if h.rest() {
				return
			}
		}
	}
}

// rest says whether there is nothing to do, and has take start run for what comes.
func (h *commandHandler) rest() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running = len(h.commands) > 0
	return !h.running
}

// do does a command, unless it was done or cancelled before, and answers it.
func (h *commandHandler) do(cmd Command) {
	c := h.client
	ctx, cancel := context.WithCancelCause(c.ctx)
	defer cancel(nil)
	done := c.known.begin(cmd.ID, cancel)
	if done == nil {
		c.insist(ctx, cmd.ID, "received", nil)
		done = h.outcome(ctx, cmd)
		c.known.end(cmd.ID, done)
	}
	c.insist(c.ctx, cmd.ID, done.status, done.data)
}

// outcome has the program do a command.
func (h *commandHandler) outcome(ctx context.Context, cmd Command) *outcome {
	result, err := h.handle(ctx, cmd)
	var rejected *Rejected
	switch {
	case errors.As(err, &rejected):
		return &outcome{"rejected", shortened(rejected.Reason)}
	case err != nil:
		return &outcome{"failed", shortened(err.Error())}
	}
	if result == nil {
		return &outcome{"succeeded", nil}
	}
	raw, err := encode(result)
	if err == nil && len(raw) > protocol.MaxAnswerBytes {
		err = fmt.Errorf("done, but its answer is %d bytes long; at most %d go", len(raw), protocol.MaxAnswerBytes)
	}
	if err != nil {
		return &outcome{"failed", err.Error()}
	}
	return &outcome{"succeeded", json.RawMessage(raw)}
}

// shortened is a text that fits into an answer, however it is escaped.
func shortened(text string) string {
	const most = protocol.MaxAnswerBytes/6 - 10
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// insist gives an answer until the service has it, or refuses it.
func (c *Client) insist(ctx context.Context, id, status string, data any) {
	for {
		err := c.answer(ctx, id, status, data)
		switch {
		case err == nil || ctx.Err() != nil || c.isClosed():
			return
		case errors.Is(err, ErrConnectionLost):
			continue // on the next connection; the same answer again is taken
		case CodeOf(err) != protocol.BackendError && CodeOf(err) != protocol.InternalError:
			c.report(err)
			return
		}
		pause(ctx, retryAnswer+c.backoff.jitter(retryAnswer))
	}
}

// answer gives an answer to a command. nil is no data.
func (c *Client) answer(ctx context.Context, id, status string, data any) error {
	rest := `,"status":"` + status + `"`
	var raw []byte
	if data != nil {
		var err error
		if raw, err = encode(data); err != nil {
			return err
		}
		if len(raw) > protocol.MaxAnswerBytes {
			return fmt.Errorf("%w: the answer's data is %d bytes long; the service takes %d", ErrTooLarge, len(raw), protocol.MaxAnswerBytes)
		}
		rest += `,"data":`
	}
	if _, err := c.deliver(ctx, frame(protocol.TypeAnswer, "command", id, rest, raw), false); err != nil {
		return fmt.Errorf("client: answer %q to command %s: %w", status, id, err)
	}
	return nil
}

// outcome is a final answer.
type outcome struct {
	status string
	data   any
}

// known are the commands that a client was handed last, or told that they are cancelled.
type known struct {
	mu      sync.Mutex
	order   []string
	done    map[string]*outcome // what was or will be answered
	running map[string]context.CancelCauseFunc
}

// begin notes that a command runs, unless there is an answer already: it returns that.
func (k *known) begin(id string, cancel context.CancelCauseFunc) *outcome {
	k.mu.Lock()
	defer k.mu.Unlock()
	if done := k.done[id]; done != nil {
		return done
	}
	if k.running == nil {
		k.running = map[string]context.CancelCauseFunc{}
	}
	k.running[id] = cancel
	return nil
}

func (k *known) end(id string, o *outcome) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.running, id)
	k.remember(id, o)
}

// remember notes the answer to a command; k.mu is held.
func (k *known) remember(id string, o *outcome) {
	if k.done == nil {
		k.done = map[string]*outcome{}
	}
	k.done[id] = o
	if k.order = append(k.order, id); len(k.order) > rememberedCommands {
		delete(k.done, k.order[0])
		k.order = k.order[1:]
	}
}

// cancel ends the context of the handler that has the command. One that waits for its
// turn will not be done.
func (k *known) cancel(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch cancel := k.running[id]; {
	case cancel != nil:
		cancel(ErrCancelled)
	case k.done[id] == nil:
		k.remember(id, &outcome{"rejected", ErrCancelled.Error()})
	}
}

// commandRef is how a message says that it is a command.
type commandRef struct {
	id        string
	attempt   int
	timeoutMs int64
}

func parseCommandRef(value []byte) (*commandRef, error) {
	var ref commandRef
	var attempt int64
	err := protocol.ScanObject(value, func(name string, value []byte) error {
		switch name {
		case "id":
			return text(name, value, &ref.id)
		case "attempt":
			return number(name, value, &attempt)
		case "timeoutMs":
			return number(name, value, &ref.timeoutMs)
		}
		return nil
	})
	if err == nil && ref.id == "" {
		err = errors.New("a command without id")
	}
	ref.attempt = int(attempt)
	return &ref, err
}
