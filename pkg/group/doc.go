// Package group keeps messages for groups of ingesters until one of them acknowledges each
// (protocol §10).
//
// A message that matches a group is appended to a stream in the bucket of its channel, by the
// script that publishes it (pkg/publish/send, with append.lua). An ingester pulls
// from the buckets that have something: each message is leased to it, and is delivered again
// when the lease ends without an acknowledgement. A bucket is served to one consumer at a
// time, so the messages of a channel come in order.
//
// A hash in the app's slot counts what the group takes, in all and in each bucket. Publishing
// counts a message there before it is appended, and a message that is deleted is taken off
// afterwards. So the count is never too low while processes live. A Sweeper puts right what a
// process leaves behind that dies in between.
package group
