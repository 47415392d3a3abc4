package rediskeys

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
)

// The keys of an app, which lie in one slot.

// MessageCount counts an app's messages in a period, such as 2026-01.
func (n Namespace) MessageCount(app, period string) string { return n.app(app, "messages:"+period) }

// Sent is the hash of the last messages that a process has published.
func (n Namespace) Sent(app, process string) string { return n.app(app, "sent:"+process) }

// Connections is the hash of the connections that each node holds.
func (n Namespace) Connections(app string) string { return n.app(app, "connections") }

// ConnectionLeases is the sorted set of when each node's share of those ends.
func (n Namespace) ConnectionLeases(app string) string { return n.app(app, "connections:leases") }

// Peak is the most connections that there were at once in a period.
func (n Namespace) Peak(app, period string) string { return n.app(app, "peak:"+period) }

// RESTRate is the token bucket of a key's REST requests.
func (n Namespace) RESTRate(app, key string) string { return n.app(app, "rest:"+key) }

// ConnectRate counts the connects of a client address to an app; "" is where
// those are counted that name no app.
func (n Namespace) ConnectRate(app, address string) string {
	if app == "" {
		app = "." // which is no app's id
	}
	return n.app(app, "connects:"+address)
}

// Revoked is the hash of the peers whose tokens were revoked.
func (n Namespace) Revoked(app string) string { return n.app(app, "revoked") }

// RevokedSince is the sorted set of those peers by when that was.
func (n Namespace) RevokedSince(app string) string { return n.app(app, "revoked:since") }

// SignedOut is the sorted set of the console's sessions that were signed out of, by when they expire.
func (n Namespace) SignedOut(app string) string { return n.app(app, "signed-out") }

// TokenLife is the most seconds that a token of the app lives, of those that were seen.
func (n Namespace) TokenLife(app string) string { return n.app(app, "token-life") }

// Usage is the sorted set of messages by channel or by peer (ranking) in a period.
func (n Namespace) Usage(app, period, ranking string) string {
	return n.app(app, "usage:"+period+":"+ranking)
}

// UsageBytes is the hash of bytes beside Usage.
func (n Namespace) UsageBytes(app, period, ranking string) string {
	return n.app(app, "usage:"+period+":"+ranking+":bytes")
}

// UsageOther is the hash of what all names have that are in neither.
func (n Namespace) UsageOther(app, period, ranking string) string {
	return n.app(app, "usage:"+period+":"+ranking+":other")
}

// UsageFlushed has the number of the last batch that a recorder added to either.
func (n Namespace) UsageFlushed(app, period, recorder string) string {
	return n.app(app, "usage:"+period+":flushed:"+recorder)
}

// EndedCommands is the sorted set of the commands that have ended, and when.
func (n Namespace) EndedCommands(app string) string { return n.app(app, "commands-ended") }

// EndedCommandBytes is how large all of them are.
func (n Namespace) EndedCommandBytes(app string) string { return n.app(app, "commands-ended:bytes") }

// HistoryRules tells which of the app's channels remember what, as nodes have seen to
// it last.
func (n Namespace) HistoryRules(app string) string { return n.app(app, "history-rules") }

// GroupBytes is the hash of the bytes of a group: of all of it, and of each bucket.
func (n Namespace) GroupBytes(app, group string) string { return n.app(app, "group:"+group) }

// Sink is the hash of the state of a group's sink.
func (n Namespace) Sink(app, group string) string { return n.app(app, "sink:"+group) }

func (n Namespace) app(app, rest string) string { return n.Prefix() + ":{" + app + "}:" + rest }

// Bucket is what the keys of some channels, or peers, of an app begin with. They
// lie in one slot, so a script may use them together.
type Bucket string

// Bucket is the bucket of a channel or a peer.
func (n Namespace) Bucket(app, name string) Bucket {
	return Bucket(n.app(app+"."+TagOf(name), ""))
}

// Buckets are all buckets of an app.
func (n Namespace) Buckets(app string) iter.Seq[Bucket] {
	return func(yield func(Bucket) bool) {
		for _, tag := range tags {
			if !yield(Bucket(n.app(app+"."+tag, ""))) {
				return
			}
		}
	}
}

// ParseBucket undoes Bucket but for the name.
func (n Namespace) ParseBucket(s string) (b Bucket, app string, err error) {
	rest, isOurs := strings.CutPrefix(s, n.Prefix()+":{")
	app, tag, hasTag := strings.Cut(rest, ".")
	if tag, ends := strings.CutSuffix(tag, "}:"); isOurs && hasTag && ends && isAppID(app) && IsTag(tag) {
		return Bucket(s), app, nil
	}
	return "", "", fmt.Errorf("%q is not a bucket of an app", s)
}

// Tag is what BucketOf makes the bucket of.
func (b Bucket) Tag() string {
	_, after, _ := strings.Cut(string(b), ".")
	return after[:tagBytes]
}

// BucketOf is the bucket of an app with that tag. It is not ok if there is none.
func (n Namespace) BucketOf(app, tag string) (b Bucket, ok bool) {
	if !IsTag(tag) {
		return "", false
	}
	return Bucket(n.app(app+"."+tag, "")), true
}

// IsTag tells whether there is a bucket with that tag.
func IsTag(s string) bool { return len(s) == tagBytes && tags[slot(s)/(slots/BucketsPerApp)] == s }

// Answers is the list of the nodes' answers to one order to close a peer's
// connections.
func (b Bucket) Answers(order string) string { return string(b) + "closed:" + order }

// Subscribers is the hash of how many connections of a node are subscribed to each
// channel; without a node, what those hashes' keys begin with.
func (b Bucket) Subscribers(node string) string { return string(b) + "subscribers:" + node }

// SubscriberNodes is the set of the nodes that have such a hash.
func (b Bucket) SubscriberNodes() string { return string(b) + "nodes" }

// Members is the hash of who is in a channel of the bucket.
func (b Bucket) Members(channel string) string { return string(b) + "presence:" + channel }

// MemberIndex is the sorted set of the ids of the peers in Members, by name.
func (b Bucket) MemberIndex(channel string) string { return string(b) + "presence-index:" + channel }

// LastJoined is the hash of the peers in Members that are on several nodes: on which they
// joined last.
func (b Bucket) LastJoined(channel string) string { return string(b) + "presence-last:" + channel }

// Joined is the set of the bucket's channels in which an identity has members.
func (b Bucket) Joined(identity string) string { return string(b) + "presence-of:" + identity }

// Peers is the hash of the records of the bucket's peers.
func (b Bucket) Peers() string { return string(b) + "peers" }

// PeerIndex is the sorted set of the same peers, all with score 0.
func (b Bucket) PeerIndex() string { return string(b) + "peers-index" }

// PeersOnline is the sorted set of those that are online, all with score 0.
func (b Bucket) PeersOnline() string { return string(b) + "peers-online" }

// Wills is the hash of what the bucket's peers have published when they are gone.
func (b Bucket) Wills() string { return string(b) + "wills" }

// Due is the sorted set of the bucket's deadlines of a kind, by when they are.
func (b Bucket) Due(kind string) string { return string(b) + "due:" + kind }

// Command is the hash of a command, by the part of its id behind the tag; without an
// id, what those hashes' keys begin with. So it is with the other keys of commands.
func (b Bucket) Command(id string) string { return string(b) + "command:" + id }

// CommandPeers is the sorted set of the ids of the peers that have the command, by name.
func (b Bucket) CommandPeers(id string) string { return string(b) + "command-peers:" + id }

// CommandDue is the sorted set of when those of them time out that have not ended.
func (b Bucket) CommandDue(id string) string { return string(b) + "command-due:" + id }

// CommandQueue is the sorted set of a channel's commands that wait for peers.
func (b Bucket) CommandQueue(channel string) string { return string(b) + "command-queue:" + channel }

// Commands is the sorted set of all of a channel's commands, by when they were created.
func (b Bucket) Commands(channel string) string { return string(b) + "commands:" + channel }

// CommandsOf is the list of the newest of the bucket's commands that a peer was handed; without
// a peer, what those lists' keys begin with.
func (b Bucket) CommandsOf(peer string) string { return string(b) + "commands-of:" + peer }

// CommandsHeld is the set of commands that were handed over by a node's identity and
// have yet to be confirmed.
func (b Bucket) CommandsHeld(identity string) string { return string(b) + "commands-held:" + identity }

// Last is a channel's position, with its newest message if the channel remembers one
// alone; without a channel, what those keys begin with. So it is with History.
func (b Bucket) Last(channel string) string { return string(b) + "last:" + channel }

// History is the list of the messages that a channel remembers, if it remembers several.
func (b Bucket) History(channel string) string { return string(b) + "history:" + channel }

// HistoryIndex is the sorted set of the bucket's channels that remember, by when the
// oldest message of each expires.
func (b Bucket) HistoryIndex() string { return string(b) + "history-index" }

// HistoryBytes is what all that they remember takes.
func (b Bucket) HistoryBytes() string { return string(b) + "history-bytes" }

// Group is the stream of the messages to the bucket's channels that wait for a group. So
// it is with the other keys of groups.
func (b Bucket) Group(group string) string { return string(b) + "group:" + group }

// GroupLeases is the sorted set of those that are delivered and not acknowledged, by when
// their leases end.
func (b Bucket) GroupLeases(group string) string { return string(b) + "group-leases:" + group }

// GroupDelayed is the sorted set of those that were refused, by when they are delivered again.
func (b Bucket) GroupDelayed(group string) string { return string(b) + "group-delayed:" + group }

// GroupState is the hash of who is served, up to where, and of counts.
func (b Bucket) GroupState(group string) string { return string(b) + "group-state:" + group }

// GroupDead is the stream of those that were delivered too often.
func (b Bucket) GroupDead(group string) string { return string(b) + "group-dead:" + group }

// IdempotencyIndex is the sorted set of the bucket's idempotency keys of publishes, by when
// they were used.
func (b Bucket) IdempotencyIndex() string { return string(b) + "idempotency-index" }

// Idempotency is what became of a request; id stands for its idempotency key.
func (b Bucket) Idempotency(id string) string { return string(b) + "idempotency:" + id }

// Wildcards is a key that stands while a node wants all messages of a kind of the
// bucket's channels: on a Redis Cluster, which has no PSUBSCRIBE for sharded topics,
// messages are published to AllTopic, too, while it does.
func (b Bucket) Wildcards(kind Kind) string { return string(b) + "wildcards:" + kindNames[kind] }

// The keys of the deployment as a whole.

// DueIndex is the sorted set of the buckets that have deadlines, by when to look there.
func (n Namespace) DueIndex() string { return n.Prefix() + ":due:{index}" }

// DueTouched is the sorted set of the same buckets, by when a deadline was last set
// there.
func (n Namespace) DueTouched() string { return n.DueIndex() + ":touched" }

// DueTurns is the hash of when the next node looks into the index.
func (n Namespace) DueTurns() string { return n.DueIndex() + ":turns" }

// Survey names the node that reads for the metrics how groups and apps do.
func (n Namespace) Survey() string { return n.Prefix() + ":survey" }

// Inbox is the stream of the orders that wait for a node.
func (n Namespace) Inbox(node string) string { return n.Prefix() + ":inbox:" + node }

// Nodes is the sorted set of the nodes that are there, by when each has said so last.
func (n Namespace) Nodes() string { return n.Prefix() + ":nodes" }

// Leases is the sorted set of the identities of nodes, and when their leases end.
func (n Namespace) Leases() string { return n.Prefix() + ":presence:{leases}" }

// DeadLeases is the sorted set of the identities to reap.
func (n Namespace) DeadLeases() string { return n.Leases() + ":dead" }

// LeaseBuckets is the set of the buckets in which an identity has members.
func (n Namespace) LeaseBuckets(identity string) string { return n.Leases() + ":buckets:" + identity }

// Epoch is a key that is gone when Redis has lost its data, and then gets another
// value.
func (n Namespace) Epoch() string { return n.Prefix() + ":epoch" }

// EpochIn is Epoch on a Redis Cluster, where each master can lose its own data: there is one
// epoch for every slotsPerEpoch slots. EpochIn is the one for slot.
func (n Namespace) EpochIn(slot int) string {
	return n.Epoch() + ":" + epochTags()[slot/slotsPerEpoch]
}

// slotsPerEpoch is so small that masters with fewer slots in a row are rare.
const slotsPerEpoch = slots / Epochs

// Epochs is how many there are on a Redis Cluster.
const Epochs = 64

// epochTags are tags in braces, one in each slotsPerEpoch slots.
var epochTags = sync.OnceValue(func() (tags [Epochs]string) {
	for n, found := 0, 0; found < Epochs; n++ {
		tag := strconv.Itoa(n)
		if at := slot(tag) / slotsPerEpoch; tags[at] == "" {
			tags[at], found = "{"+tag+"}", found+1
		}
	}
	return tags
})

// Probe is a key that a node writes to find out whether Redis works.
func (n Namespace) Probe(node string) string { return n.Prefix() + ":probe:" + node }

// ProbeIn is Probe on a Redis Cluster, where each master is probed with a key in one of
// its slots.
func (n Namespace) ProbeIn(slot int, node string) string {
	return n.Prefix() + ":probe:" + braced(slot) + node
}
