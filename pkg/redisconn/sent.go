package redisconn

import (
	"errors"
	"io"
	"net"
	"syscall"

	"github.com/redis/go-redis/v9"
)

var errNotSent = errors.New("not sent, as redis did not answer what went before")

// NotSent says whether err proves that nothing of a command or pipeline was sent:
// there was no connection to send it on, its turn did not come, or the master is known not
// to work.
func NotSent(err error) bool {
	var op *net.OpError
	return isAway(err) || errors.Is(err, errNotSent) || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrClosed) ||
		errors.As(err, &op) && op.Op == "dial"
}

// Undone says whether err proves that Redis did nothing: the command was not sent,
// or the error is Redis's answer to it. After any other error it may have been
// done, or be done later.
func Undone(err error) bool {
	var reply redis.Error
	return NotSent(err) || errors.As(err, &reply)
}

// Broke says whether err is of a connection that worked and was lost. Redis may live, and a
// new connection work.
func Broke(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
