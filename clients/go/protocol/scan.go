package protocol

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"
)

// ScanObject calls member for each member of the JSON object that b is, in the order they are written:
// with the name unescaped, and the value verbatim without the white space around it, aliasing b.
// A name that is there twice is handed out twice.
//
// It is strict: RFC 8259 to the letter, valid UTF-8 throughout (also inside values), values nested at most
// MaxNesting deep, and nothing but white space around the object. Anything else is an error that says
// where and what was expected, and never quotes b; member may have been called before it is found. The first
// error that member returns ends the scan and is returned as it is.
func ScanObject(b []byte, member func(name string, value []byte) error) error {
	var s scanner
	s.open(b)
	for s.next() {
		if err := member(string(s.name), s.value); err != nil {
			return err
		}
	}
	return s.err()
}

// scanner walks over the members of one JSON object.
//
// UTF-8 is checked once, over all of b and before anything else, which is far quicker than in each string.
// After that a byte from 0x80 up needs no second look: inside a string it is fine, elsewhere it is an error.
type scanner struct {
	b     []byte
	i     int    // the next byte to look at
	begun bool   // a member has been read
	wrong string // what was wrong at i; "" so far nothing
	slash bool   // skipString has passed over an escape

	deepest int // how many levels the values so far have, at most

	name, value []byte // the member that next found
}

// open goes into the object in b, before its first member.
func (s *scanner) open(b []byte) {
	s.b = b
	if !utf8.Valid(b) {
		for r, size := utf8.DecodeRune(b); r != utf8.RuneError || size > 1; r, size = utf8.DecodeRune(b[s.i:]) {
			s.i += size
		}
		s.fail("not valid UTF-8")
		return
	}
	s.space()
	if s.peek() != '{' {
		s.fail("expected an object, beginning with '{'")
		return
	}
	s.i++
}

// err is nil if the object was whole and alone in b. Only of use when next has returned false.
func (s *scanner) err() error {
	if s.wrong == "" {
		return nil
	}
	if s.i >= len(s.b) {
		return fmt.Errorf("broken JSON: it ends after %d bytes: %s", len(s.b), s.wrong)
	}
	return fmt.Errorf("broken JSON at byte %d: %s", s.i, s.wrong)
}

// next reads one member into name and value; false at the end of b or at an error.
func (s *scanner) next() bool {
	if s.wrong != "" {
		return false
	}
	s.space()
	switch c := s.peek(); {
	case c == '}':
		s.i++
		s.space()
		if s.i < len(s.b) {
			s.fail("expected nothing after the object")
		}
		return false
	case s.begun && c != ',':
		return s.fail("expected ',' or '}'")
	case s.begun:
		s.i++
		s.space()
	}
	s.begun = true

	start := s.i
	s.slash = false
	if !s.skipString() {
		return false
	}
	s.name = s.b[start+1 : s.i-1]
	if s.slash {
		s.name, _ = unquote(s.b[start:s.i]) // a name with half a character is an unknown name
	}
	if !s.skipColon() {
		return false
	}
	start = s.i
	if !s.skipValue() {
		return false
	}
	s.value = s.b[start:s.i:s.i] // no spare capacity: appending to it must not write into b
	return true
}

// skipValue passes over one value of any kind, which must begin at i. It keeps its own record of what is
// open instead of calling itself, so that hostile nesting costs a bit a level and no stack.
func (s *scanner) skipValue() bool {
	var open nesting
	for {
		// Here a value begins.
		switch c := s.peek(); c {
		case '"':
			if !s.skipString() {
				return false
			}
		case '{', '[':
			if open.depth == MaxNesting {
				return s.fail(tooDeep)
			}
			s.deepest = max(s.deepest, open.depth+1)
			s.i++
			s.space()
			if s.peek() == c+2 { // '}' or ']', both two on from their partner
				s.i++
				break
			}
			open.push(c == '{')
			if c == '{' && !(s.skipString() && s.skipColon()) {
				return false
			}
			continue
		case 't':
			if !s.skipLiteral("true") {
				return false
			}
		case 'f':
			if !s.skipLiteral("false") {
				return false
			}
		case 'n':
			if !s.skipLiteral("null") {
				return false
			}
		default:
			if !s.skipNumber() {
				return false
			}
		}

		// Here a value has ended: close what ends with it, up to where another one follows.
		for {
			if open.depth == 0 {
				return true
			}
			s.space()
			c := s.peek()
			if c == ',' {
				s.i++
				s.space()
				if open.inObject() && !(s.skipString() && s.skipColon()) {
					return false
				}
				break
			}
			switch {
			case open.inObject() && c != '}':
				return s.fail("expected ',' or '}'")
			case !open.inObject() && c != ']':
				return s.fail("expected ',' or ']'")
			}
			s.i++
			open.pop()
		}
	}
}

// skipString passes over a string literal (RFC 8259 §7). A value is only ever taken for a string at its quote,
// so that a missing one means a missing name.
func (s *scanner) skipString() bool {
	if s.peek() != '"' {
		return s.fail("expected a name in double quotes")
	}
	s.i++
	for {
		s.i = skipPlain(s.b, s.i)
		switch s.peek() {
		case '"':
			s.i++
			return true
		case '\\':
			if !s.skipEscape() {
				return false
			}
		default:
			if s.i == len(s.b) {
				return s.fail("expected a closing quote")
			}
			return s.fail("control character in a string, expected it escaped")
		}
	}
}

// skipPlain returns where the first special byte of b from i on is; len(b) if there is none. It looks at eight bytes
// at once: in each of the three terms the high bit of a byte is set where the byte is below 0x20, a quote, or a
// backslash. A borrow can set further bits, but only above a byte that is itself special, and the lowest counts.
func skipPlain(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		quote, backslash := w^ones*'"', w^ones*'\\'
		hits := ((w-ones*0x20)&^w | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
		if hits != 0 {
			return i + bits.TrailingZeros64(hits)/8
		}
	}
	for i < len(b) && !special[b[i]] {
		i++
	}
	return i
}

func (s *scanner) skipEscape() bool {
	s.slash = true
	s.i++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i++
		return true
	case 'u':
		s.i++
		for range 4 {
			switch c := s.peek(); {
			case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
				s.i++
			default:
				return s.fail("broken escape, expected four hexadecimal digits after \\u")
			}
		}
		return true
	default:
		return s.fail("broken escape, expected one of \"\\/bfnrtu after \\")
	}
}

// skipNumber passes over a number (RFC 8259 §6), of any size and precision: it is never converted.
func (s *scanner) skipNumber() bool {
	minus := s.peek() == '-'
	if minus {
		s.i++
	}
	switch c := s.peek(); {
	case c == '0': // no digit may follow
		s.i++
	case '1' <= c && c <= '9':
		s.skipDigits()
	case minus:
		return s.fail("expected a digit after '-'")
	default:
		return s.fail("expected a value")
	}
	if s.peek() == '.' {
		s.i++
		if !s.skipDigits() {
			return s.fail("expected a digit after '.'")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		if !s.skipDigits() {
			return s.fail("expected a digit in the exponent")
		}
	}
	return true
}

func (s *scanner) skipDigits() bool {
	start := s.i
	for s.i < len(s.b) && s.b[s.i]-'0' <= 9 {
		s.i++
	}
	return s.i > start
}

func (s *scanner) skipLiteral(word string) bool {
	if len(s.b)-s.i < len(word) || string(s.b[s.i:s.i+len(word)]) != word {
		return s.fail("expected a value")
	}
	s.i += len(word)
	return true
}

// skipColon passes over the colon between a name and its value, and the white space around it.
func (s *scanner) skipColon() bool {
	s.space()
	if s.peek() != ':' {
		return s.fail("expected ':'")
	}
	s.i++
	s.space()
	return true
}

// space passes over white space. Mostly there is none; this half of it, which finds that out, is inlined.
func (s *scanner) space() {
	if s.i < len(s.b) && s.b[s.i] <= ' ' {
		s.skipSpace()
	}
}

func (s *scanner) skipSpace() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

// peek is the byte at i; 0 at the end, which is no more welcome anywhere than a NUL that is really there.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

// fail notes what was wrong at i, and is false.
func (s *scanner) fail(wrong string) bool {
	s.wrong = wrong
	return false
}

var tooDeep = fmt.Sprintf("nested too deep, expected at most %d levels", MaxNesting)

// nesting is a stack of what is open, one bit a level: object or array.
type nesting struct {
	depth   int
	objects [MaxNesting / 64]uint64
}

func (n *nesting) push(object bool) {
	bit := uint64(1) << (n.depth % 64)
	if object {
		n.objects[n.depth/64] |= bit
	} else {
		n.objects[n.depth/64] &^= bit
	}
	n.depth++
}

func (n *nesting) pop() { n.depth-- }

func (n *nesting) inObject() bool {
	innermost := n.depth - 1
	return n.objects[innermost/64]>>(innermost%64)&1 == 1
}

// Nesting returns how deep arrays and objects lie in one another in a JSON value, its own level counted: 0 for a
// string, 2 for [[]]. ok is false if value is not one valid JSON value of at most MaxNesting levels.
func Nesting(value []byte) (levels int, ok bool) {
	s := scanner{b: value}
	ok = utf8.Valid(value) && s.skipValue() && s.i == len(value)
	return s.deepest, ok
}

// Kind names the type of a JSON value, which is valid and without white space
// before it, as error messages put it: "an object", "null".
func Kind(value []byte) string {
	switch value[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number"
	}
}
