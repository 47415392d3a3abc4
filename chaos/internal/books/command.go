package books

import "time"

// A command is one request that a device answers.
type command struct {
	peer         string
	sent, ended  time.Time
	status       string // "": no answer, or an error
	refused      bool   // nothing was sent
	err          string
	data, answer string
	runs         []time.Time
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

// CommandEnded records what the caller was told: a status and the device's data, or an error;
// refused says that the error rules out that the command was sent.
func (b *Books) CommandEnded(n int, at time.Time, status, data string, refused bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.commands[n]
	c.ended, c.status, c.data, c.refused = at, status, data, refused
	if err != nil {
		c.err = err.Error()
	}
}
