// Package client is how a Go program, on a device or in a backend, speaks to
// Fleetwire: a [Client] that stays connected and subscribed, and [REST] for the
// requests that take a secret key.
//
// # Connection
//
// A Client connects in the background and, when a connection ends, does what its
// close code asks (protocol §4.5):
//
//   - with a new token at once: 4002, the token has expired or its key was rotated
//     (a second time in a row without a welcome between, after a pause). A token
//     need not expire: shortly before, the client asks for a new one and goes on
//     with it (refresh, §4.2);
//   - with a new token after a pause, once: 4001, the token or its key will not
//     do. If the new one is refused as well, the client stops;
//   - after at least 30 s: 4010, the plan's connections are used up;
//   - never: 4003, 4012 and 4020. The client stops;
//   - after a pause, everything else, a lost network included.
//
// A pause is random between zero and a bound that doubles from 1 s to 60 s, so
// that a fleet which lost its node does not come back as one wave; a connection
// that lasted 10 s takes the bound back to 1 s. A Retry-After comes before the
// pause. After a going_away frame the client is back when retryAfterMs is over,
// counted from the frame; if the connection still stands then, the client closes
// it. A connection on which nothing is heard for 75 s, not even the service's
// pings, counts as lost.
//
// # Subscriptions
//
// [Client.Subscribe] returns when the subscription is live on all nodes. From then
// on it is renewed on each new connection; [Live] says when all are. Delivery is
// at most once: what is published while the client is away is not kept for it, but in
// channels that remember (protocol §9). There a subscription by name goes on where it was,
// [Last] and [Since] say where it begins, and Options.OnGap hears what is lost.
// [WithPresence] says who else is there, [Client.Send] reaches one peer, and
// Options.OnDirect hears what others send to this one.
//
// # Publishing that is safe to repeat
//
// All publishes of [REST] carry an idempotency key, so a request whose answer is lost is
// sent again and published once. [Client.PublishMessage] does so if it is given a key.
// With Outgoing.If a message is published only if no other one came first, as the next
// version of a document that several write.
//
// # Commands
//
// [REST.Command] sends a command and returns the device's answer (protocol §8). On the
// device, [Client.HandleCommands] has a function do each command once, and answers with
// what it returns, over as many connections as that takes. With [WithConfirm] a command
// that was under way when the connection ended comes again.
//
// # Groups of ingesters
//
// [Client.Group] has a function get the messages that wait for a group (protocol §10), and
// acknowledges what it returns nil for: what an ingester has not acknowledged when it
// crashes is delivered to another one. It runs on the caller's goroutine.
//
// # Will
//
// [Client.SetWill] has the service publish a message when this peer is gone and does not
// come back (protocol §4.7). The client sets it anew on each connection; [Client.Close]
// ends the connection so that it is not published.
//
// # Your functions
//
// All functions that a program hands to a Client (handlers, OnState, OnError, OnGap) are
// called on one goroutine of the Client's own, one after the other, messages in
// the order in which they came. (HandleCommands has a goroutine for each handler.)
// They may call any method of the Client. A slow
// one holds up the others, but neither pings nor acks: messages wait for it, up
// to Options.QueueBytes. When that is full, messages are dropped; [Message.Missed]
// of the next one says how many.
//
// # Errors
//
// A refused request is an [*Error] with one of clients/go/protocol's codes:
//
//	var refused *client.Error
//	if errors.As(err, &refused) {
//		switch {
//		case refused.Code == protocol.OverMessageQuota: // dropped until the period ends
//		case refused.Outcome == protocol.OutcomeNone: // nothing was published: try again
//		case refused.Outcome == protocol.OutcomeUnknown: // another try may publish it twice
//		}
//	}
//
// Neither errors nor logs ever hold a token or a secret key.
package client
