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

// Change is what became of a peer.
type Change struct {
	Kind   ChangeKind
	Member // with Left, as it was
}

// ChangeKind is what a change is, as the first byte of its line.
type ChangeKind byte

// The kinds of changes.
const (
	Joined  ChangeKind = '+'
	Updated ChangeKind = '~' // it was there, with other metadata
	Left    ChangeKind = '-'
)

var errAnnouncement = errors.New("not an announcement of this version")

// ParseAnnouncement reads what change.lua publishes: the version in the first
// line, then a line for each change: its kind, the peer id, a tab, the metadata. Neither peer ids nor compact JSON contain tabs or newlines. The
// result shares no memory with the payload.
func ParseAnnouncement(payload []byte) (Announcement, error) {
	version, rest, ok := strings.Cut(string(payload), "\n")
	if !ok {
		return Announcement{}, errAnnouncement
	}
	v, err := ParseVersion(version)
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
		kind := ChangeKind(line[0])
		if !ok || peer == "" || (kind != Joined && kind != Updated && kind != Left) {
			return Announcement{}, errAnnouncement
		}
		a.Changes = append(a.Changes, Change{kind, Member{strings.Clone(peer), strings.Clone(metadata)}})
	}
	return a, nil
}
