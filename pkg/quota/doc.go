// Package quota keeps what an app may use within bounds, in Redis, so that all
// nodes and functions count together (protocol §6):
//
//   - messages: the exact cap of messages per period. The counting itself is
//     done by pkg/publish/send in the same step that publishes; Messages says which
//     counter to use and how far it may go. Admit counts a command, which another
//     script creates after that.
//   - connections: the app's concurrent connections, in per-node leases that
//     expire when a node dies. A request for one with a revoked token
//     (pkg/revocation) is refused in the same step.
//   - rates: REST requests per key, and connects per client address. The token
//     of a request that publishes is taken by pkg/publish/send as well, in the same
//     step, with BucketLua.
//
// All its keys in Redis expire.
package quota
