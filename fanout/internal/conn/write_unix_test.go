//go:build unix

package conn

import (
	"bytes"
	"testing"
)

// All that is queued goes out in one write, up to 64 KiB.
func TestOneWriteForAllThatIsQueued(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name         string
		frames, size int
		writes       int32
	}{
		{"one frame", 1, 100, 1},
		{"100 frames", 100, 100, 1},
		{"one large frame", 1, 200_000, 1},
		{"163 KB in small frames", 1000, 144, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := w.connect()
			setWriteBuffer(t, &p.conn, 1<<20)
			check(t, p.Conn.SetReadBuffer(1<<20))
			p.Want(alive)
			writes, size := countWrites(t, &p.conn), 0
			for i := range tt.frames {
				frame := framed(numbered(i, tt.size))
				size += len(frame)
				p.conn.Append(frame, uint64(i+1))
			}
			p.conn.Flush()
			if n := writes.Load(); n != tt.writes {
				t.Errorf("%d writes for %d bytes in %d frames, want %d", n, size, tt.frames, tt.writes)
			}
			for range tt.frames {
				p.Read()
			}
		})
	}
}

// The answers to everything that one read brought go out together.
func TestOneWriteForAllAnswers(t *testing.T) {
	w := newWorld(t)
	p := w.connect()
	p.Want(alive)
	writes := countWrites(t, &p.conn)
	p.Write(bytes.Repeat(text(ping), 100)) // 2.1 kB: one segment, one read
	for range 100 {
		p.Want(aText(ping))
	}
	if n := writes.Load(); n != 1 {
		t.Errorf("%d writes for 100 answers, want 1", n)
	}
}
