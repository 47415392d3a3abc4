package books

import "time"

// A command is one request that a device answers.
type command struct {
	peer        string
	sent, ended time.Time
	ending      Ending
	answer      string // the device's
	runs        []time.Time
}

// Command records a request for a command that goes out now, and returns its number.
func (b *Books) Command(at time.Time, peer string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.commands = append(b.commands, &command{peer: peer, sent: at})
	return len(b.commands) - 1
}

// Ran records that the device does the command, and what it will answer.
func (b *Books) Ran(n int, at time.Time, answer string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n < 0 || n >= len(b.commands) {
		return
	}
	c := b.commands[n]
	c.runs, c.answer = append(c.runs, at), answer
}

// An Ending is what the caller of a command was told.
type Ending struct {
	Status  string // "" with an error
	Data    string // what the device answered, as the caller got it
	Err     error
	Refused bool // the error rules out that the command was sent
	There   bool // the device was connected and subscribed all the while
}

// CommandEnded records how a command ended.
func (b *Books) CommandEnded(n int, at time.Time, e Ending) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.commands[n].ended, b.commands[n].ending = at, e
}
