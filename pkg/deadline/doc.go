// Package deadline finds what falls due, over all slots, and hands it to its owners.
//
// An owner (commands, graces, wills) has its records in the bucket of a channel or
// a peer. Beside them, in the same slot, is a sorted set of what falls due there and
// when: one for each kind of deadline. The owner's own scripts change it in the
// step that changes the record (Lua). An index in a slot of its own knows in which
// buckets there is something, and when to look there next (Touch). A Worker on each
// node looks into the index, and calls the owner's Handler with what is due.
//
// An owner does three things:
//
//   - Its script, with Lua before it, calls due_set to set or move a deadline, and
//     due_clear to drop one.
//   - With a due_set goes Touch, in the same Exec and before the script. Without it no
//     node looks there in time.
//   - Its handler calls a script that checks again: the deadline may have moved, the
//     record may be gone, another node may have done the work. If it is still due
//     (due_passed), the script does what is to be done, and clears the deadline, in
//     one step.
//
// What holds:
//
//   - At least once. A deadline stays until its owner's script clears it. An id that
//     a handler leaves there comes again a second later, and holds up no other. If a
//     node dies with deadlines in hand, another node gets them when the lease of 3 s
//     ends.
//   - Never early, by the clock of the Redis that has the bucket. A step of that clock
//     makes deadlines early or late by as much.
//   - Within a second of the deadline while at least one node lives: one of them
//     looks every 400 ms. They take turns, however many they are. If several nodes
//     die at once, their turns are missed once: 400 ms each, 5 s at most.
//   - Redis does nothing for deadlines that are not due, and idle it gets one script
//     every 400 ms, however many apps there are.
//   - A writer that dies between Touch and its script leaves an entry to look at, and
//     nothing else. A writer that is between the two while a node looks is known by
//     its Touch: the node looks again.
//   - On a Redis Cluster the index is at one master. While that does not answer, scripts
//     set deadlines all the same, and nodes look for those when it answers again.
//   - An index that is lost is built again from the buckets of the apps in the apps
//     document. Redis that has lost everything has no deadlines; owners state theirs
//     again, or have none.
//
// All times are those of Redis (TIME); no clock of a process counts.
package deadline
