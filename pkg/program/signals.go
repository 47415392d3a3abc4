package program

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mattn/go-isatty"
)

// listen begins to hand signals on, until stop.
func (p *Process) listen(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	hurry, reload := make(chan struct{}), make(chan struct{}, 1)
	p.Hurry, p.Reload = hurry, reload
	signals := make(chan os.Signal, 8)
	// Under nohup it is ignored, and the end of the terminal means nothing.
	hasTerminal := !signal.Ignored(syscall.SIGHUP) && isatty.IsTerminal(os.Stdin.Fd())
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		asked := false
		for s := range signals {
			switch {
			case s == syscall.SIGHUP && !(hasTerminal && !isatty.IsTerminal(os.Stdin.Fd())):
				select {
				case reload <- struct{}{}:
				default: // one is to come anyway
				}
			case !asked: // SIGHUP too, if it says that the terminal was closed
				asked = true
				cancel()
			default:
				select {
				case <-hurry:
				default:
					close(hurry)
				}
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		<-ended
		cancel()
	}
}
