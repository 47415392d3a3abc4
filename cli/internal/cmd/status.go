package cmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"syscall"

	"fleetwire/cli/internal/show"
	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

// The exit statuses, as the help has them.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitUnreachable = 4
	exitNotDone     = 5
	exitInterrupted = 130
)

// exit is an error with the exit status of the program.
type exit struct {
	status int
	text   string
}

func (e *exit) Error() string { return e.text }
func (e *exit) ExitCode() int { return e.status }

// usageError is about the command line.
type usageError struct {
	error
	command string // such as fleetwire pub
}

func (e usageError) Unwrap() error { return e.error }

// usagef is about the command line, of a command that has found it itself.
func usagef(command, format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...), "fleetwire " + command}
}

// notDone ends the program with exitNotDone. "": everything is said.
func notDone(text string) error { return &exit{exitNotDone, text} }

// status gives an error its exit status, and a text that a terminal can show: the service, or
// what answers in its place, may have written a part of it.
func (c *cli) status(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return err
	}
	coded := c.exitOf(ctx, err)
	coded.text = show.SafeLines(coded.text)
	return coded
}

func (c *cli) exitOf(ctx context.Context, err error) *exit {
	if coded, ok := errors.AsType[*exit](err); ok {
		return coded
	}
	if wrong, ok := errors.AsType[usageError](err); ok {
		return &exit{exitUsage, fmt.Sprintf("%v; see %s --help", wrong.error, wrong.command)}
	}
	if isInterrupted(ctx, err) {
		return &exit{exitInterrupted, ""}
	}
	if errors.Is(err, syscall.EPIPE) {
		return &exit{exitFailed, ""} // the reader has what it wanted, as head has
	}
	text := strings.ReplaceAll(err.Error(), "client: ", "")
	if refused, ok := errors.AsType[*client.Error](err); ok {
		return &exit{refusal(refused), text}
	}
	if errors.Is(err, client.ErrNotService) {
		return &exit{exitUnreachable, text}
	}
	if closed, ok := errors.AsType[*protocol.CloseError](err); ok {
		return &exit{exitRefused, closed.Error()}
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return &exit{exitFailed, text}
	}
	if request, ok := errors.AsType[*url.Error](err); ok {
		short := fmt.Sprintf("no answer from %s: %v", origin(request.URL), request.Err)
		return &exit{exitUnreachable, strings.Replace(text, request.Error(), short, 1)}
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return &exit{exitUnreachable, text}
	}
	return &exit{exitFailed, text}
}

// refusal is the exit status of what the service, or something before it, has answered.
func refusal(e *client.Error) int {
	switch {
	case e.Status != 0 && e.Code == "":
		return exitUnreachable // something else has answered, such as a proxy
	case e.Code == protocol.BackendError || e.Code == protocol.InternalError:
		return exitFailed
	}
	return exitRefused
}

// origin is where a request went, without its path.
func origin(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Scheme + "://" + u.Host
}
