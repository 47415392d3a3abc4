package client

import (
	"context"
	"strings"
	"testing"

	"fleetwire/clients/go/protocol"
)

func (p *peerConn) command(id, attempt string) {
	p.say(`{"type":"message","channel":"c","from":"server","data":1,"command":{"id":"` + id + `","attempt":` + attempt + `,"timeoutMs":30000}}`)
}

// wantAnswer reads an answer, and acks it.
func (p *peerConn) wantAnswer(id, status string) protocol.ClientFrame {
	p.t.Helper()
	f, text := p.request()
	if f.Type != protocol.TypeAnswer || f.Command != id || f.Status != status {
		p.t.Fatalf("got %s, want that %s is %s", text, id, status)
	}
	return f
}

func (p *peerConn) acks(f protocol.ClientFrame) { p.say(string(protocol.AppendAck(nil, f.RequestID))) }

// A command that comes again is not done again; an answer whose ack was lost is given
// again on the next connection.
func TestHandleCommandsDoesEachOnce(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		done := map[string]int{}
		subscribed := async(func() error {
			return c.HandleCommands(t.Context(), "c", func(_ context.Context, cmd Command) (any, error) {
				done[cmd.ID]++
				return cmd.Attempt, nil
			}, WithConfirm())
		})
		if s := p.grant(protocol.TypeSubscribe, "c"); s.Commands != protocol.Confirm {
			t.Errorf("subscribed with commands %q", s.Commands)
		}
		wantErr(t, <-subscribed, nil)
		p.command("one", "1")
		p.acks(p.wantAnswer("one", "received"))
		p.wantAnswer("one", "succeeded")
		p.shut(protocol.CloseGoingAway)

		p = f.welcome()
		p.grant(protocol.TypeSubscribe, "c")
		p.acks(p.wantAnswer("one", "succeeded"))
		p.command("one", "2")
		again := p.wantAnswer("one", "succeeded")
		if string(again.Data) != "1" {
			t.Errorf("answered %s, want what was answered before", again.Data)
		}
		p.refuse(again, protocol.BackendError)
		p.acks(p.wantAnswer("one", "succeeded"))
		p.command("two", "1")
		p.acks(p.wantAnswer("two", "received"))
		p.refuse(p.wantAnswer("two", "succeeded"), protocol.CommandFinal)
		c.Close()
		<-c.Done()
		if done["one"] != 1 || done["two"] != 1 {
			t.Errorf("done %v, want each once", done)
		}
	})
}

// A command that is cancelled while another is done does not run, whether or not its
// message has come by then.
func TestHandleCommandsSkipsTheCancelled(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		finish, done := make(chan bool), []string{}
		subscribed := async(func() error {
			return c.HandleCommands(t.Context(), "c", func(_ context.Context, cmd Command) (any, error) {
				done = append(done, cmd.ID)
				<-finish
				return nil, nil
			}, WithConfirm())
		})
		p.grant(protocol.TypeSubscribe, "c")
		wantErr(t, <-subscribed, nil)
		p.command("one", "1")
		p.acks(p.wantAnswer("one", "received"))
		p.command("two", "1")
		p.say(`{"type":"command_cancelled","command":"two"}`)
		p.say(`{"type":"command_cancelled","command":"three"}`)
		p.command("three", "1")
		p.command("four", "1")
		finish <- true
		p.acks(p.wantAnswer("one", "succeeded"))
		for _, id := range []string{"two", "three"} {
			skipped := p.wantAnswer(id, "rejected")
			if string(skipped.Data) != `"the command was cancelled"` {
				t.Errorf("%s: answered %s", id, skipped.Data)
			}
			p.acks(skipped)
		}
		p.acks(p.wantAnswer("four", "received"))
		finish <- true
		p.acks(p.wantAnswer("four", "succeeded"))
		c.Close()
		<-c.Done()
		if got := strings.Join(done, " "); got != "one four" {
			t.Errorf("done: %s; want one and four", got)
		}
	})
}

// The goroutine of a handler ends when it has nothing to do: a bubble ends with all its
// goroutines, and this one closes no client before it looks.
func TestHandleCommandsRests(t *testing.T) {
	bubble(t, func(t *testing.T, f *fake) {
		c := f.client()
		p := f.welcome()
		for range 3 {
			subscribed := async(func() error {
				return c.HandleCommands(t.Context(), "c", func(context.Context, Command) (any, error) { return nil, nil })
			})
			p.grant(protocol.TypeSubscribe, "c")
			wantErr(t, <-subscribed, nil)
		}
		p.command("one", "1")
		p.acks(p.wantAnswer("one", "received"))
		p.acks(p.wantAnswer("one", "succeeded"))
		c.working.Wait()
	})
}
