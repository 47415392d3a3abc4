package intake

const (
	// maxChunkLine bounds the line of a chunk's size, with its extensions.
	maxChunkLine = 256
	// maxTrailers bounds all that follows the last chunk.
	maxTrailers = 4 << 10
	// maxChunkDigits bounds a chunk's size in hexadecimal: 4 GiB and less.
	maxChunkDigits = 8
)

type chunkPart uint8

const (
	chunkSize      chunkPart = iota // hexadecimal digits
	chunkExtension                  // what may follow them, ignored
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	trailerLine
	trailerLF
)

// chunkScanner finds the end of a body in chunks (RFC 9112 §7.1).
type chunkScanner struct {
	part   chunkPart
	size   int64 // of the chunk; in chunkData what is left of it
	digits int
	line   int // bytes of the line so far
	total  int // bytes of all trailers
}

var errChunk = malformed("the chunked body is broken: each chunk is its size in hexadecimal, CR LF, as many bytes, CR LF; the last is of size 0")

// scan goes over b as far as the body reaches.
func (s *chunkScanner) scan(b []byte) (n int, done bool, refused *refusal) {
	for n < len(b) {
		if s.part == chunkData {
			step := min(s.size, int64(len(b)-n))
			n += int(step)
			if s.size -= step; s.size == 0 {
				s.part = chunkDataCR
			}
			continue
		}
		done, ok := s.next(b[n])
		n++
		if !ok {
			return n, false, errChunk
		}
		if done {
			return n, true, nil
		}
	}
	return n, false, nil
}

// next takes one byte that is not of a chunk's data.
func (s *chunkScanner) next(c byte) (done, ok bool) {
	switch s.part {
	case chunkSize:
		return false, s.sizeByte(c)
	case chunkExtension:
		s.line++
		if c == '\r' {
			s.part = chunkSizeLF
			return false, true
		}
		return false, isText(c) && s.line <= maxChunkLine
	case chunkSizeLF:
		s.part = chunkData
		if s.size == 0 {
			s.part, s.line = trailerLine, 0
		}
		return false, c == '\n'
	case chunkDataCR:
		s.part = chunkDataLF
		return false, c == '\r'
	case chunkDataLF:
		s.part, s.size, s.digits, s.line = chunkSize, 0, 0, 0
		return false, c == '\n'
	case trailerLine:
		s.total++
		if c == '\r' {
			s.part = trailerLF
			return false, true
		}
		s.line++
		return false, isText(c) && s.total <= maxTrailers
	default: // trailerLF
		empty := s.line == 0
		s.part, s.line = trailerLine, 0
		return empty && c == '\n', c == '\n'
	}
}

func (s *chunkScanner) sizeByte(c byte) bool {
	var digit int64
	switch {
	case c >= '0' && c <= '9':
		digit = int64(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		digit = int64(c|0x20-'a') + 10
	case s.digits == 0:
		return false
	case c == '\r':
		s.part = chunkSizeLF
		return true
	case c == ';':
		s.part = chunkExtension
		return true
	default:
		return false
	}
	s.digits++
	s.size = s.size<<4 | digit
	return s.digits <= maxChunkDigits
}

func isText(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' }
