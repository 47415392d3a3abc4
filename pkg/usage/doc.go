// Package usage knows what an app has used in a period, a calendar month in UTC
// (protocol §5, §6): its messages and connections as a whole, and what each
// channel and each sending peer cost, in messages published and bytes of data.
//
// A [Recorder] adds up in memory and flushes every [FlushInterval], so counting
// costs a publish no round trip. That makes the figures per channel and per peer
// softer than the message count that the quota rests on, which Redis counts with
// the publish itself and exactly:
//
//   - A process that crashes takes the figures of at most one interval with it.
//   - A flush that failed is repeated until Redis takes it, and is counted once:
//     each batch has a number, Redis keeps the number of the last one it took
//     from each recorder, and so a batch whose reply was lost is known when it
//     comes again. Only when Redis stays away for longer than that number is
//     kept, an hour, can such a batch be counted twice, and only when the
//     process ends before Redis is back is it not known whether it was counted.
//   - Memory is bounded, here and in Redis: a ranking has [MaxNames] names. The
//     others share one sum, so the total stays exact. A name that fell
//     out of a full ranking begins anew, and what it had stays in that sum.
//
// Messages over the quota are in messagesUsed, and in no channel's figures.
//
// A [Reader] reads all of that back. A ranking is read in pages with a bounded
// piece of work for Redis each.
//
// In Redis a ranking is a sorted set of messages by name, with a hash of bytes
// beside it. They expire with the period's message counter.
package usage
