package session

import (
	"sync"
	"testing"

	"fleetwire/clients/go/protocol"
	"fleetwire/fanout/internal/commands"
	"fleetwire/pkg/command"
	"fleetwire/pkg/envelope"
)

// commandsOf stands in for the dispatcher.
type commandsOf struct {
	mu      sync.Mutex
	late    bool     // done is called by enter
	waiting []func() // what enter calls
	entered []string
	left    []uint64
	answers []command.Answer
	answer  *protocol.Error // what an answer is told
}

func (c *commandsOf) Enter(r commands.Receiver, app, channel string, confirms bool, done func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	mode := ""
	if confirms {
		mode = " confirms"
	}
	c.entered = append(c.entered, app+" "+channel+" "+r.Peer()+mode)
	if c.late {
		c.waiting = append(c.waiting, done)
		return
	}
	go done()
}

// enter has all subscriptions be over that wait.
func (c *commandsOf) enter() {
	c.mu.Lock()
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	for _, done := range waiting {
		done()
	}
}

func (c *commandsOf) Left(connection uint64) {
	c.mu.Lock()
	c.left = append(c.left, connection)
	c.mu.Unlock()
}

func (c *commandsOf) Answer(a command.Answer, by commands.Answerer) {
	c.mu.Lock()
	c.answers = append(c.answers, a)
	refusal := c.answer
	c.mu.Unlock()
	by.Answered(refusal)
	by.Flush()
}

// Protocol §8.3: live messages come behind the commands that wait for the peer.
func TestLiveMessagesWaitForCommands(t *testing.T) {
	w := newWorld(t)
	w.commands.late = true
	p := w.connect(w.grant("device-1"))
	p.Write(text(`{"type":"subscribe","requestId":"r","channel":"devices/a"}`))
	p.Want(anAck("r"))
	first, second := delivery("devices/a", "1"), delivery("devices/a", "2")
	w.opt.Hub.Broadcast([]envelope.Delivery{first})
	p.Want(alive) // and nothing before it
	w.commands.enter()
	w.opt.Hub.Broadcast([]envelope.Delivery{second})
	p.Want(aText(string(first.Frame[2:])), aText(string(second.Frame[2:])), alive)
}
