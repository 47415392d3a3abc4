// Package history keeps the last messages of channels that remember (protocol §9).
//
// The messages and the position of a channel lie in its bucket (channel.lua).
// pkg/publish/send appends to them in the script that counts and publishes a message, so the
// offset that subscribers see is the stored one. A Store reads and forgets. A Sweeper frees what has expired, and what
// an app has no room for.
//
// A position is an epoch and an offset. An epoch begins with characters that stand for the
// generation of the Redis server: its run_id and master_replid. When Redis was started
// again, or a replica was promoted, the next read or publish of a channel sees that the
// generation is another one, and begins a new epoch, because acknowledged messages may
// be lost. A process asks for the generation again after a second.
package history
