package telemetry

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// outputBytes bounds the lines that wait for their reader.
	outputBytes = 1 << 20
	// lineOverhead is what a waiting line takes beside its bytes.
	lineOverhead = 64
	// After a failed write, such as to a full disk or to a pipe without a reader, the
	// same line is tried again after a pause, which doubles up to the longest.
	shortestPause = 50 * time.Millisecond
	longestPause  = time.Second
)

// Output hands lines to a writer, such as standard error, without its callers ever
// waiting for it: for a pipe whose reader stands still, a full disk, a terminal on
// hold. It keeps the lines in order and up to outputBytes of them; over that it
// drops the oldest, counts them, and says in their place how many they were.
// A goroutine runs while lines wait.
type Output struct {
	w       io.Writer
	dropped atomic.Uint64
	ending  chan struct{} // closed by Flush: failed writes are not tried again

	mu     sync.Mutex
	notice func(lines int) []byte
	lines  [][]byte
	size   int
	gap    int           // lines dropped before lines[0]
	idle   chan struct{} // nil while nothing waits; closed when all is written
	flush  sync.Once
}

// NewOutput returns an Output to w.
func NewOutput(w io.Writer) *Output {
	return &Output{w: w, ending: make(chan struct{}), notice: func(lines int) []byte {
		return fmt.Appendf(nil, "%d lines were dropped: they were not read in time\n", lines)
	}}
}

// Write takes a line, which must be whole. It neither blocks nor fails.
func (o *Output) Write(line []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, bytes.Clone(line))
	o.size += len(line) + lineOverhead
	for o.size > outputBytes {
		o.pop()
		o.gap++
		o.dropped.Add(1)
	}
	if o.idle == nil && len(o.lines) > 0 {
		o.idle = make(chan struct{})
		go o.run(o.idle)
	}
	return len(line), nil
}

// pop takes the oldest line. It is called with o.mu held.
func (o *Output) pop() []byte {
	line := o.lines[0]
	o.lines[0] = nil
	o.lines = o.lines[1:]
	o.size -= len(line) + lineOverhead
	return line
}

// Dropped is how many lines were dropped so far.
func (o *Output) Dropped() uint64 { return o.dropped.Load() }

// Flush waits until all lines are written, at most for limit. It is for the end of a
// process: from now on a line whose write fails is dropped.
func (o *Output) Flush(limit time.Duration) {
	o.flush.Do(func() { close(o.ending) })
	o.mu.Lock()
	idle := o.idle
	o.mu.Unlock()
	if idle == nil {
		return
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}

func (o *Output) run(idle chan struct{}) {
	for {
		line := o.next()
		if line == nil {
			close(idle)
			return
		}
		o.write(line)
	}
}

// next is the line to write now; nil: none waits any more.
func (o *Output) next() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.gap > 0:
		line := o.notice(o.gap)
		o.gap = 0
		return line
	case len(o.lines) == 0:
		o.idle, o.lines = nil, nil
		return nil
	}
	return o.pop()
}

// write goes on where a failed write stopped, so that a line comes whole.
func (o *Output) write(line []byte) {
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		n, err := o.w.Write(line)
		if line = line[min(n, len(line)):]; len(line) == 0 {
			return
		}
		if err == nil {
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-o.ending:
			timer.Stop()
			o.dropped.Add(1)
			return
		}
	}
}
