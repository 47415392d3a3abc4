package rediskeys

import (
	_ "embed"
	"strconv"
	"strings"
)

// WildcardsLua has the function
//
//	to_wildcards(topic, message)
//
// for scripts to begin with that publish. On a Redis Cluster it publishes the message to
// the AllTopic of the topic's bucket while there is the key Wildcards. It is in the
// variant of a script for a cluster alone (redisconn.NewScript), and so must its calls be.
//
//go:embed wildcards.lua
var WildcardsLua string

// Kind is what a topic carries.
type Kind uint8

// The kinds of topics.
const (
	Messages Kind = iota // the messages of a channel
	Presence             // who joins and leaves a channel
	Peer                 // direct messages to a peer
	kinds
)

// kindNames are the kinds as they stand in topics.
var kindNames = [kinds]string{Messages: "msg", Presence: "presence", Peer: "peer"}

// Topic is the topic of a channel or, with Peer, of a peer.
func (n Namespace) Topic(kind Kind, app, name string) string {
	var room [128]byte // on the stack, unless it is longer
	return string(append(n.appendSlot(room[:0], kind, app, TagOf(name)), name...))
}

// TopicsIn is what the topics of a bucket's channels or peers begin with; their
// names are all that follows.
func (n Namespace) TopicsIn(b Bucket, kind Kind) string {
	slot := strings.TrimPrefix(string(b), n.Prefix()+":")
	return string(append(append(append(n.appendTopics(nil), kindNames[kind]...), ':'), slot...))
}

// Glob is a pattern for the topics of those channels of the app whose names
// match glob, and for no others.
func (n Namespace) Glob(kind Kind, app, glob string) string {
	return string(append(n.appendSlot(nil, kind, app, anyTag), glob...))
}

// ProbeTopic is the topic on which a node hears whether what it publishes comes
// back to it.
func (n Namespace) ProbeTopic(node string) string {
	return string(append(append(n.appendTopics(nil), "probe:"...), node...))
}

// ProbeTopicIn is ProbeTopic on a Redis Cluster, in the slot of ProbeIn.
func (n Namespace) ProbeTopicIn(slot int, node string) string {
	return n.ProbeTopic(braced(slot) + node)
}

// AllTopic is the topic on a Redis Cluster of all messages of a kind of the bucket's
// channels, for wildcards (Wildcards). Each message has the channel's name and a
// newline before it. The topic is that of a channel without a name, so that a script
// can tell it from a channel's.
func (n Namespace) AllTopic(b Bucket, kind Kind) string { return n.TopicsIn(b, kind) }

// WakeTopic is the topic on which a process hears which commands of a bucket have
// ended for whose end it waits; without a process, what those topics begin with.
func (n Namespace) WakeTopic(b Bucket, process string) string {
	slot := strings.TrimPrefix(string(b), n.Prefix()+":")
	return string(append(append(append(n.appendTopics(nil), "wake:"...), slot...), process...))
}

// GroupTopic is the topic on which processes hear that there are messages for a group.
func (n Namespace) GroupTopic(app, group string) string {
	return string(append(n.appendTopics(nil), "group:{"+app+"}:"+group...))
}

func (n Namespace) appendSlot(dst []byte, kind Kind, app, tag string) []byte {
	dst = append(append(n.appendTopics(dst), kindNames[kind]...), ":{"...)
	dst = append(append(append(dst, app...), '.'), tag...)
	return append(dst, "}:"...)
}

// ParseTopic undoes Topic. It is not ok if Topic returns no such string.
func (n Namespace) ParseTopic(topic string) (kind Kind, app, name string, ok bool) {
	kind, app, tag, name, ok := n.parse(topic)
	if !ok || name == "" || tag != TagOf(name) {
		return 0, "", "", false
	}
	return kind, app, name, true
}

// ParseAllTopic undoes AllTopic for a message that came on it: it finds the name of the
// message's channel, and the message. It is not ok if the topic is no AllTopic, or that of
// another bucket than the channel's.
func (n Namespace) ParseAllTopic(topic, payload string) (kind Kind, app, name, message string, ok bool) {
	kind, app, tag, none, ok := n.parse(topic)
	if !ok || none != "" {
		return 0, "", "", "", false
	}
	name, message, ok = strings.Cut(payload, "\n")
	if !ok || name == "" || tag != TagOf(name) {
		return 0, "", "", "", false
	}
	return kind, app, name, message, true
}

// parse takes a topic apart.
func (n Namespace) parse(topic string) (kind Kind, app, tag, name string, ok bool) {
	rest, ok := strings.CutPrefix(topic, n.Prefix())
	if !ok || rest == "" || rest[0] != ':' {
		return 0, "", "", "", false
	}
	var room [24]byte
	database := strconv.AppendInt(room[:0], int64(n.database), 10)
	if rest, ok = strings.CutPrefix(rest[1:], string(database)); !ok || rest == "" || rest[0] != ':' {
		return 0, "", "", "", false
	}
	rest = rest[1:]
	for kind = range kinds {
		if after, found := strings.CutPrefix(rest, kindNames[kind]); found {
			if after, found = strings.CutPrefix(after, ":{"); found {
				app, tag, name, ok = parseSlot(after)
				return kind, app, tag, name, ok
			}
		}
	}
	return 0, "", "", "", false
}

// parseSlot reads what follows the brace: app.TAG}:NAME.
func parseSlot(s string) (app, tag, name string, ok bool) {
	end := strings.IndexByte(s, '.')
	if end <= 0 || !isAppID(s[:end]) || len(s) < end+1+tagBytes+2 {
		return "", "", "", false
	}
	app, s = s[:end], s[end+1:]
	tag, separator, name := s[:tagBytes], s[tagBytes:tagBytes+2], s[tagBytes+2:]
	return app, tag, name, separator == "}:"
}

// isAppID goes by the alphabet of app ids (protocol §7).
func isAppID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return s != ""
}
