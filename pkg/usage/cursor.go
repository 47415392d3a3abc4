package usage

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fleetwire/clients/go/channel"
)

// ErrCursor: a cursor that no page of this ranking has handed out.
var ErrCursor = errors.New("invalid cursor: repeat the cursor of the page before exactly as it came, or leave it out to begin at the top")

// place is a position in a ranking: behind the entry with this name and count.
// Without a name it is the top.
type place struct {
	kind      Kind
	period    string
	published int64
	name      string
}

// cursorEncoding survives a URL's query unescaped.
var cursorEncoding = base64.RawURLEncoding.Strict()

// maxCursorBytes is more than any cursor has.
const maxCursorBytes = 512

func (p place) after(e Entry) place {
	p.published, p.name = e.Published, e.Name
	return p
}

func (p place) cursor() string {
	return cursorEncoding.EncodeToString(fmt.Appendf(nil, "%s %s %d %s", p.kind, p.period, p.published, p.name))
}

func parseCursor(kind Kind, cursor string) (place, error) {
	if len(cursor) > maxCursorBytes {
		return place{}, ErrCursor
	}
	text, err := cursorEncoding.DecodeString(cursor)
	if err != nil {
		return place{}, ErrCursor
	}
	fields := strings.SplitN(string(text), " ", 4)
	if len(fields) != 4 || fields[0] != string(kind) {
		return place{}, ErrCursor
	}
	if _, err := time.Parse(periodLayout, fields[1]); err != nil {
		return place{}, ErrCursor
	}
	published, err := strconv.ParseUint(fields[2], 10, 53) // what a sorted set's score holds exactly
	if err != nil {
		return place{}, ErrCursor
	}
	if name := fields[3]; name == "" || len(name) > channel.MaxBytes {
		return place{}, ErrCursor
	}
	return place{kind, fields[1], int64(published), fields[3]}, nil
}
