package redisconn

import (
	"context"
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

// maxBroken bounds the connections that are found broken one after the other.
const maxBroken = 8

// PastBroken calls what may be done twice, again while a connection breaks under it. Redis may have
// cut all connections of the client: those that it keeps are found out one by one, and the next is
// a new one.
func PastBroken(ctx context.Context, call func() error) error {
	err := call()
	for tries := 1; Broke(err) && tries < maxBroken && ctx.Err() == nil; tries++ {
		err = call()
	}
	return err
}
