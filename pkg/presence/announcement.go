package presence

import (
	"errors"
	"strings"
)

// Announcement is what has changed in a channel with one step of its version.
type Announcement struct {
	Version Version
	Changes []Change // of different peers
}

// Change is a peer that joined, or left. A peer that joins although it is there
// has new metadata.
type Change struct {
	Member      // with Left, as it was
	Left   bool // else it joined
}

var errAnnouncement = errors.New("not an announcement of this version")

// ParseAnnouncement reads what change.lua publishes: the version in the first
// line, then a line for each change, + or -, the peer id, a tab, and the
// metadata. Neither peer ids nor compact JSON contain tabs or newlines. The
// result shares no memory with the payload.
func ParseAnnouncement(payload []byte) (Announcement, error) {
	version, rest, ok := strings.Cut(string(payload), "\n")
	if !ok {
		return Announcement{}, errAnnouncement
	}
	v, err := parseVersion(version)
	if err != nil {
		return Announcement{}, err
	}
	a := Announcement{Version: v, Changes: make([]Change, 0, strings.Count(rest, "\n"))}
	for rest != "" {
		var line string
		if line, rest, ok = strings.Cut(rest, "\n"); !ok || line == "" {
			return Announcement{}, errAnnouncement
		}
		peer, metadata, ok := strings.Cut(line[1:], "\t")
		if !ok || peer == "" || (line[0] != '+' && line[0] != '-') {
			return Announcement{}, errAnnouncement
		}
		a.Changes = append(a.Changes, Change{Member{strings.Clone(peer), strings.Clone(metadata)}, line[0] == '-'})
	}
	return a, nil
}
