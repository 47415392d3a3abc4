// Package channel knows what a channel name is, what a pattern is, which names a pattern matches and
// which patterns a pattern covers (protocol §2). It imports the standard library alone.
//
// A name is 1–256 bytes of UTF-8 without control characters. '/' separates its levels, and no level is
// "." or "..", because front doors fold those. Names are compared byte for byte, as they were sent.
//
// A pattern is a name in which stars stand for something:
//
//   - any run of characters without '/', also none
//     **   any run of characters at all; three stars and more mean the same
//     \*   a star
//     \\   a backslash; before anything else a backslash is itself
//
// A pattern has at most [MaxWildcards] of them: without a bound, one pattern could be a thousand times the work of
// another, for a node and for Redis. Stars side by side are one wildcard.
//
// Escape pairs are read from left to right, so in `\\*` the star is a wildcard. A string without a
// wildcard is a name. As a pattern it is plain: it matches what it says, and always its own spelling. In
// names nothing is escaped: the channel `a\*b` has four bytes, which a pattern with wildcards spells `a\\\*b`.
//
//	pattern            devices/cam-1/events   devices/cam-1/a/b   devices/
//	devices/*/events   yes                    no                  no
//	devices/*          no                     no                  yes
//	devices/**         yes                    yes                 yes
//
// Authorization rests on two questions. Match asks whether a pattern matches a name; it is on the way of
// every message, so it neither allocates nor backtracks without bound. Covers asks whether a pattern
// matches everything that another pattern matches; it decides which tokens may be minted and which
// wildcards may be subscribed to, so it never says yes wrongly. Where one request asks many such questions,
// they share an [Effort].
//
// A [Pattern] is immutable: any number of goroutines may use it.
package channel
