// Package rediskeys names everything that Fleetwire keeps in Redis: its keys, its
// topics (pub/sub channels), and the slot tags in both. No other package spells
// one, so that no two can mean different things by the same name.
//
// A Namespace is one deployment: a prefix and the number of a database. Keys
// begin with the prefix; Redis itself keeps those of different databases apart:
//
//	fw:{app}:…                          what an app has once
//	fw:{app.TAG}:…                      what belongs to a channel or a peer
//
// Redis delivers what is published to all databases, so topics have the number
// of theirs. The kind stands before anything that a client can choose, so that
// no pattern of one kind matches a topic of another:
//
//	fw:DB:KIND:{app.TAG}:NAME
//
// The part in braces decides the slot on a Redis Cluster. TAG (tag.go) is
// three digits that depend on the name of the channel or peer alone.
//
// App ids have neither "." nor "}" (protocol §7), kinds, numbers and tags neither
// ":" nor "}", and what a client chooses comes last. So each name can be read in
// one way only.
package rediskeys

import (
	"fmt"
	"strconv"

	"fleetwire/pkg/redact"
)

// DefaultPrefix is the prefix of a deployment that sets none.
const DefaultPrefix = "fw"

const maxPrefixBytes = 32

// Namespace is where one deployment keeps its names apart from others on the same
// Redis. Its zero value is that of DefaultPrefix on database 0.
type Namespace struct {
	prefix   string // "": DefaultPrefix
	database int
}

// New returns the namespace of a prefix and a database. The error says what is
// wrong with the prefix.
func New(prefix string, database int) (Namespace, error) {
	legal := len(prefix) <= maxPrefixBytes && prefix != "" && prefix[0] >= 'a' && prefix[0] <= 'z'
	for _, c := range []byte(prefix) {
		legal = legal && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-')
	}
	if !legal {
		return Namespace{}, fmt.Errorf("%s is not a prefix; use 1 to %d characters of a–z, 0–9, _ and -, the first a letter, such as %s", redact.Value(prefix), maxPrefixBytes, DefaultPrefix)
	}
	if prefix == DefaultPrefix {
		prefix = ""
	}
	return Namespace{prefix, database}, nil
}

// Prefix is what all keys and topics begin with, before a colon.
func (n Namespace) Prefix() string {
	if n.prefix == "" {
		return DefaultPrefix
	}
	return n.prefix
}

// appendTopics appends what all topics begin with.
func (n Namespace) appendTopics(dst []byte) []byte {
	dst = append(append(dst, n.Prefix()...), ':')
	return append(strconv.AppendInt(dst, int64(n.database), 10), ':')
}
