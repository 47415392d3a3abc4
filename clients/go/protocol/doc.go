// Package protocol is what goes over the wire: the frames between a client and the service, how they are read
// and written, the errors and close codes that refuse them, and the limits that both sides keep. It holds no
// state, does no I/O and imports the standard library alone. "protocol §4.2" and the like, here and elsewhere,
// are sections of the protocol's description; "RFC 6455" is WebSocket, "RFC 8259" JSON.
//
// # The flow
//
// A client opens a WebSocket at /v1 with a token or a publishable key. The server
// refuses a bad credential, a suspended app or a full plan after the upgrade, with a close code: a browser can read
// that, and not an HTTP status. If all is well, the first frame is the server's welcome. From then on the client sends frames as
// it likes, and the server answers those that carry a requestId: ack if the frame was carried out, error if not.
// The answers come in no promised order. Without a requestId success is silent, and errors still come. An error
// leaves the connection open. A close code ends it, and CloseCodes says for each whether coming back can help.
//
// A client subscribes to channels, or to patterns of them, and gets a message for each publish of another connection.
// It needs no subscription to publish. Frames from one connection to one channel arrive everywhere in the order
// they were sent; nothing is stored, so who is not subscribed at the moment does not get it later.
//
// The server pings every connection each PingInterval (RFC 6455 §5.5.2) and closes it when nothing at all has
// come for InactivityLimit. A client that cannot see those pings, as no browser script can, sends ping frames of
// its own and looks for the pong. Before a node goes down it sends going_away, then closes with 1001.
//
// # Frames
//
// One frame is one JSON object in one WebSocket text message; from a client a binary message with the same
// content is accepted as well. C→S is client to server. A ? marks what may be left out; what is unknown is
// ignored.
//
//	C→S subscribe    {"type","requestId"?,"channel","includeSenderMetadata"?,"commands"?}
//	                 join a channel, or all that a pattern matches; with "commands":"confirm" it confirms commands
//	C→S unsubscribe  {"type","requestId"?,"channel"}                           leave; fine too if not joined
//	C→S publish      {"type","requestId"?,"channel","data"}                    to every other subscriber; data is any JSON value
//	C→S send         {"type","requestId"?,"to","data"}                         to every connection of one peer
//	C→S refresh      {"type","requestId"?,"token"}                             a new credential for this connection
//	C→S answer       {"type","requestId"?,"command","status"?,"data"?}         what became of a command
//	C→S ping         {"type"}                                                  answered by pong
//
//	S→C welcome      {"type","peerId","expiresAt","serverTime","maxMessageSize","metadata"?}
//	                 once, first; expiresAt in unix seconds, null for a publishable key; metadata is the token's
//	S→C ack          {"type","requestId"}                                      that frame was carried out
//	S→C error        {"type","requestId"?,"code","message"}                    that frame was refused; Codes lists the codes
//	S→C message      {"type","channel","from","fromMetadata"?,"data"}          a publish of another connection
//	S→C message      {"type","channel","from","data","command"}                a command, to be answered
//	S→C command_cancelled  {"type","command"}                                  it was cancelled; to subscribers that confirm
//	S→C direct       {"type","from","fromMetadata"?,"data"}                    a send to this peer
//	S→C presence     {"type","channel","joined","left"}                        who came and went
//	S→C going_away   {"type","retryAfterMs"}                                   the node closes soon
//	S→C pong         {"type"}                                                  the answer to ping
//
// The ack of a refresh also has "expiresAt" and "unsubscribed", the subscriptions that the new credential does not cover.
//
// Data and metadata are never interpreted: the bytes that a publisher sent for data are the bytes that every
// subscriber gets, so 1.0 stays 1.0 and an integer of twenty digits keeps them all. This is why Decode checks
// the inside of data as strictly as the rest: it is spliced into other people's frames, and a browser drops its
// connection at the first byte that is not UTF-8.
//
// # Limits
//
//	one frame                       64 KiB    MaxFrameBytes          else close 1009
//	nesting of data                 128       MaxNesting             else malformed_message; 400 by REST
//	nesting of metadata             16        MaxMetadataNesting     else close 4001; 400 by REST
//	requestId                       128 B     MaxRequestIDBytes      else malformed_message
//	data of an answer               16 KiB    MaxAnswerBytes         else malformed_message
//	peer id                         128 B     MaxPeerIDBytes         else invalid_peer_id
//	subscriptions of a connection   100       MaxSubscriptions       else channel_limit_exceeded
//	bytes waiting for a connection  1 MiB     UnsentBytesLimit       else close 1008, "slow consumer"
//	time in which it takes none     30 s      StallLimit             else close 1008, "slow consumer: …"
//	silence from a connection       75 s      InactivityLimit        else close 4000
//	a REST body                     32 KiB    MaxBodyBytes           else 413
//	the body of POST /v1/tokens     128 KiB   MaxTokenBodyBytes      else 413
//	the body of POST /v1/publish    256 KiB   MaxPublishBodyBytes    else 413
//	the body of a group's …/ack     128 KiB   MaxAckBodyBytes        else 413
//	messages of POST /v1/publish    100       MaxPublishMessages     else 400
//	a token's channels              100       MaxTokenChannels       else close 4001
//	a token's permissions           16        MaxTokenPermissions    else close 4001
//	a token's metadata              8 KiB     MaxMetadataBytes       else close 4001
//	a token's peerMetadata          4 KiB     MaxPeerMetadataBytes   else close 4001
//
// A channel's name is bounded by package channel; rates and plans are the app's own (protocol §6).
package protocol
