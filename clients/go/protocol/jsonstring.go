package protocol

import (
	"bytes"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

// special marks the bytes that cannot stand for themselves between the quotes of a JSON string (RFC 8259 §7).
var special = func() (t [256]bool) {
	for c := range 0x20 {
		t[c] = true
	}
	t['"'], t['\\'] = true, true
	return t
}()

// AppendString appends s as a JSON string literal, escaping only what RFC 8259 §7 demands, as JSON.stringify does:
// quotes, backslashes, and U+0000–1F as \b \f \n \r \t or \u00xx. No HTML escaping. Invalid
// UTF-8 becomes U+FFFD, since a browser drops the whole connection at the first bad byte.
func AppendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	done := 0 // s[:done] is written
	for i := 0; i < len(s); {
		c := s[i]
		size := 1
		if c < utf8.RuneSelf {
			if !special[c] {
				i++
				continue
			}
		} else {
			var r rune
			if r, size = utf8.DecodeRuneInString(s[i:]); r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = append(dst, s[done:i]...)
		i += size
		done = i
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			if c < utf8.RuneSelf {
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&0xF])
			} else {
				dst = append(dst, "\uFFFD"...)
			}
		}
	}
	dst = append(dst, s[done:]...)
	return append(dst, '"')
}

// ErrHalfCharacter: a string escapes half a surrogate pair, such as "\ud800". No text has such a character. Readers
// put U+FFFD in its place, each in its own way, so that two names become one.
var ErrHalfCharacter = errors.New("has half a character in it (an escape such as \\ud800 without its other half); send whole characters")

// errNoString is never shown: callers say what the value is instead, and what it must be.
var errNoString = errors.New("is not a string")

// DecodeString returns the text of value, which must be exactly one JSON string literal in valid UTF-8, as
// ScanObject hands it out. The error is ErrHalfCharacter, or another if value is anything else.
func DecodeString(value []byte) (string, error) {
	s := scanner{b: value}
	if !utf8.Valid(value) || !s.skipString() || s.i != len(value) {
		return "", errNoString
	}
	text, whole := unquote(value)
	if !whole {
		return "", ErrHalfCharacter
	}
	return string(text), nil
}

// unquote returns the text of a valid string literal: a part of the literal itself if nothing is escaped in it. whole
// is false if there is half a surrogate pair in it, for which U+FFFD stands in the text.
func unquote(literal []byte) (text []byte, whole bool) {
	body := literal[1 : len(literal)-1]
	i := bytes.IndexByte(body, '\\')
	if i < 0 {
		return body, true
	}
	whole = true
	text = make([]byte, 0, len(body)) // no escape is shorter than what it stands for
	for ; i >= 0; i = bytes.IndexByte(body, '\\') {
		text = append(text, body[:i]...)
		escape := body[i+1]
		body = body[i+2:]
		switch escape {
		case 'b':
			text = append(text, '\b')
		case 'f':
			text = append(text, '\f')
		case 'n':
			text = append(text, '\n')
		case 'r':
			text = append(text, '\r')
		case 't':
			text = append(text, '\t')
		case 'u':
			r := hex4(body)
			body = body[4:]
			if utf16.IsSurrogate(r) {
				// A high half takes a low half that follows it; on its own, either is no character.
				low := rune(-1)
				if len(body) >= 6 && body[0] == '\\' && body[1] == 'u' {
					low = hex4(body[2:])
				}
				if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
					body = body[6:]
				} else {
					whole = false
				}
			}
			text = utf8.AppendRune(text, r)
		default: // '"', '\\' and '/' stand for themselves
			text = append(text, escape)
		}
	}
	return append(text, body...), whole
}

// hex4 is the value of the four hexadecimal digits that b begins with.
func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		switch {
		case c <= '9':
			c -= '0'
		default:
			c = c&^0x20 - 'A' + 10
		}
		r = r<<4 | rune(c)
	}
	return r
}
