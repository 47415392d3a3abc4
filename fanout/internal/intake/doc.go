// Package intake stands between TCP and the HTTP server of a node. It hands the
// server only what is HTTP/1.x by the letter of RFC 9112, so that a node and a
// proxy in front of it never disagree about where a request ends, and it bounds
// what clients can make the node hold:
//
//   - A request's head is gathered here, in a buffer that grows with what really
//     came. The server, whose own buffer has room for the longest head, sees it
//     when it is complete. Heads over 16 KiB share a budget.
//   - A body is handed on as the server reads it. Bodies share another budget, from
//     the first byte read until the request is answered.
//   - Over a budget the answer is 503 with Retry-After.
//
// Intake answers the requests that it refuses itself, in the form of protocol §5,
// and closes their connections.
package intake
