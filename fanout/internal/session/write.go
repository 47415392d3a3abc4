package session

import (
	"net"
	"sync"
)

// maxWrite is how much of a queue is gathered into one write.
const maxWrite = 64 << 10

var gatherBuffers = sync.Pool{New: func() any { b := make([]byte, 0, maxWrite); return &b }}

// Flush writes what is queued, as far as the socket takes it at once. What it
// does not take is left to a goroutine of this connection alone, so that nobody
// waits for a slow peer.
func (s *Session) Flush() {
	q := &s.out
	q.mu.Lock()
	defer q.mu.Unlock()
	q.flushing = false
	for len(q.frames) > 0 && q.draining == nil && !q.broken {
		chunk, frames, release := q.gather()
		n, err := s.sock.tryWrite(chunk)
		release()
		if err != nil {
			s.breakOff()
			return
		}
		q.bytes -= n
		if n == len(chunk) {
			q.drop(frames)
			continue
		}
		q.skip(n)
		q.draining = make(chan struct{})
		go s.drain(q.draining)
	}
}

// gather joins the frames at the head of the queue into one chunk. A single
// frame is written from where it lies.
func (q *queue) gather() (chunk []byte, frames int, release func()) {
	if len(q.frames) == 1 || len(q.frames[0]) >= maxWrite {
		return q.frames[0], 1, func() {}
	}
	buffer := gatherBuffers.Get().(*[]byte)
	for _, f := range q.frames {
		if len(*buffer)+len(f) > maxWrite {
			break
		}
		*buffer = append(*buffer, f...)
		frames++
	}
	return *buffer, frames, func() { *buffer = (*buffer)[:0]; gatherBuffers.Put(buffer) }
}

// drop forgets the first frames of the queue, which are written.
func (q *queue) drop(frames int) {
	if frames == len(q.frames) {
		// A connection that had much queued once should not keep the room for it.
		clear(q.frames)
		q.frames = q.frames[:0]
		if cap(q.frames) > 8 {
			q.frames = nil
		}
		return
	}
	clear(q.frames[:frames])
	q.frames = q.frames[frames:]
}

// skip forgets the first n bytes of the queue, which are written. Shared frames
// are not changed, only the view of them.
func (q *queue) skip(n int) {
	for n > 0 && n >= len(q.frames[0]) {
		n -= len(q.frames[0])
		q.drop(1)
	}
	if n > 0 {
		q.frames[0] = q.frames[0][n:]
		q.begun = true
	}
}

// drain writes with a goroutine that waits for the peer, until the queue is
// empty. It ends with the socket at the latest.
func (s *Session) drain(done chan struct{}) {
	defer close(done)
	q := &s.out
	for {
		q.mu.Lock()
		var chunk net.Buffers
		size := 0
		for len(q.frames) > 0 && (size == 0 || size+len(q.frames[0]) <= maxWrite) {
			chunk = append(chunk, q.frames[0])
			size += len(q.frames[0])
			q.drop(1)
		}
		q.begun = false
		if size == 0 {
			q.draining = nil
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()

		_, err := chunk.WriteTo(s.sock.conn)

		q.mu.Lock()
		q.bytes -= size
		if err != nil {
			q.draining = nil
			s.breakOff()
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
	}
}

// breakOff is called with the queue locked when the socket takes nothing any
// more: the connection is over, and whoever reads from it is to notice.
func (s *Session) breakOff() {
	s.out.broken = true
	s.out.frames = nil
	s.sock.stopReading()
}
