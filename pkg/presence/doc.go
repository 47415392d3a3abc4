// Package presence reads from Redis who is in which channel, over all nodes
// (protocol §4.3): a page of a channel (List), whole channels at one version
// (Load), and the announcements of what changes.
//
// A peer is in a channel while at least one of its connections, on any node, is
// subscribed to it by name. Nodes write this state (fanout/internal/members). One
// script changes a channel and announces the change in the same step, so the order
// of announcements is the order of changes.
//
// Each announcement carries a version, one more than the channel's announcement
// before it. A reader that misses an announcement notices, and loads the channel.
package presence
