package redisconn

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redact"
)

// Refused reports that Redis refused a connection: a wrong password, too many
// clients. The text is Redis's own.
type Refused struct{ Words string }

func (e *Refused) Error() string { return e.Words }

// handshake is a hook that keeps Redis's words when it refuses a connection.
// go-redis takes any error that HELLO is answered with for a server that does not
// know the command, goes on without it, and then reports a closed connection. And it
// refuses a Redis of another form than the client is for.
type handshake struct{ want form }

func (h handshake) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if hello, ok := cmd.(*redis.MapStringInterfaceCmd); ok && err == nil && cmd.Name() == "hello" {
			if err = h.want.check(hello); err != nil {
				cmd.SetErr(err)
			}
			return err
		}
		var reply redis.Error
		if err == nil || cmd.Name() != "hello" || !errors.As(err, &reply) || strings.HasPrefix(err.Error(), "ERR unknown command") {
			return err
		}
		err = &Refused{err.Error()}
		cmd.SetErr(err)
		return err
	}
}

func (handshake) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// DialHook keeps the promise of DialOnce.
func (handshake) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialed, ok := ctx.Value(dialedKey{}).(*atomic.Bool); ok && dialed.Swap(true) {
			return nil, errors.New("the connection was lost")
		}
		conn, err := next(ctx, network, addr)
		if err != nil {
			err = hideAddress(addr, err)
		}
		return conn, err
	}
}

// hiddenError is a dial's error without the address in its text.
type hiddenError struct {
	error
	text string
}

func (e *hiddenError) Error() string { return e.text }
func (e *hiddenError) Unwrap() error { return e.error }

// hideAddress shows a host or a path in err as redact.Place does: it may be a password
// that stands where the host belongs, as in redis://password:6379.
func hideAddress(addr string, err error) error {
	host, _, split := net.SplitHostPort(addr)
	if split != nil { // a path
		host = addr
	}
	shown := strings.Trim(redact.Place(host), `"`)
	if text := strings.ReplaceAll(err.Error(), host, shown); host != "" && text != err.Error() {
		return &hiddenError{err, text}
	}
	return err
}

type dialedKey struct{}

// DialOnce returns a context under which a client connects once. A redis.PubSub
// would connect again by itself, behind the back of who uses it, and lose count
// of what Redis has yet to answer.
func DialOnce(ctx context.Context) context.Context {
	return context.WithValue(ctx, dialedKey{}, new(atomic.Bool))
}
