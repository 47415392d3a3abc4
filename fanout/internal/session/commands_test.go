package session

import (
	"sync"

	"fleetwire/fanout/internal/commands"
	"fleetwire/pkg/command"
	"fleetwire/pkg/protocol"
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
