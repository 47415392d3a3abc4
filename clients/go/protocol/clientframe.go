package protocol

// FrameType says what a client frame asks for. The zero value is no type.
type FrameType uint8

// The client frames that Decode knows (protocol §4.2).
const (
	TypeSubscribe   FrameType = 1 + iota // join a channel, or every channel a pattern matches
	TypeUnsubscribe                      // leave it
	TypePublish                          // a message to every other subscriber of a channel
	TypeSend                             // a message to all connections of one peer
	TypePing                             // answered with Pong
	TypeRefresh                          // a new token for the connection
	TypeAnswer                           // what became of a command that the peer was handed
	TypeWill                             // a message that is published when the peer is gone, or none
	TypeGroupAck                         // what became of messages that waited for a group
)

var frameTypeNames = [...]string{
	TypeSubscribe:   "subscribe",
	TypeUnsubscribe: "unsubscribe",
	TypePublish:     "publish",
	TypeSend:        "send",
	TypePing:        "ping",
	TypeRefresh:     "refresh",
	TypeAnswer:      "answer",
	TypeWill:        "will",
	TypeGroupAck:    "group_ack",
}

// String is the type as it stands in a frame, also fit for a metric's label; "unknown" for the zero value.
func (t FrameType) String() string {
	if t == 0 || int(t) >= len(frameTypeNames) {
		return "unknown"
	}
	return frameTypeNames[t]
}

func parseFrameType(name []byte) FrameType {
	for t := TypeSubscribe; int(t) < len(frameTypeNames); t++ {
		if string(name) == frameTypeNames[t] {
			return t
		}
	}
	return 0
}

// ClientFrame is one frame from a client. Fields that its type does not use stay zero, even if the
// frame has them.
type ClientFrame struct {
	Type                  FrameType
	RequestID             string      // 1–128 bytes; "" when the frame has none
	Channel               string      // subscribe, unsubscribe, publish, will: as sent, not checked against the rules for names
	IncludeSenderMetadata bool        // subscribe
	Commands              string      // subscribe: Confirm, or ""
	Since                 *Position   // subscribe: replay what came after it; nil: not asked for
	Last                  *int        // subscribe: replay so many of the newest, up to MaxLast; nil: not asked for
	Group                 string      // subscribe, unsubscribe: a group's name as sent, 1–MaxGroupNameBytes; "": it is about a channel
	MaxInFlight           int         // subscribe, with Group: 1–MaxInFlight
	AckIDs                []string    // group_ack: as sent, not checked; with Nack 1–MaxGroupAcks
	Nack                  []GroupNack // group_ack: likewise
	IdempotencyKey        string      // publish: 1–128 bytes; "" when the frame has none
	IfOffset              *uint64     // publish: only if it is the channel's newest; nil: in any case
	IfEpoch               string      // publish: with IfOffset, only in this epoch; "": in any
	To                    string      // send: a peer id as sent, not checked
	Token                 string      // refresh
	Command               string      // answer: the id as sent, not checked
	Status                string      // answer: one of AnswerStatuses
	DelayMs               int64       // will: 0–MaxWillDelayMs
	Data                  []byte      // publish, send, answer, will: one JSON value, the very bytes that were sent; aliases Decode's input; nil: an answer without, or a will that is taken back
}

// Decode reads one client frame into f, overwriting all of it (protocol §4.2). The whole of b is checked: it
// must be one JSON object by ScanObject's rules. Names are case-sensitive; of a name that is there twice, the
// last counts.
//
// The error, nil if all is well, is ready for an `error` frame (protocol §4.4). These are looked for in this
// order:
//   - MalformedMessage: not one valid JSON object, a value nested more than MaxNesting deep, no string type, a
//     requestId that is not a string of 1–128 bytes (all also with an unknown type);
//   - UnknownType: a type that Decode does not know;
//   - MalformedMessage: another field that this type of frame uses has the wrong JSON type; null is wrong too;
//   - MalformedMessage: an answer with a status that is none, or with more than MaxAnswerBytes of data; a subscribe
//     with since and last; a position, count or idempotencyKey out of its bounds; ifEpoch without ifOffset;
//   - MalformedMessage: a subscribe or unsubscribe with channel and group; a maxInFlight out of bounds; a group_ack
//     that names no message, or over MaxGroupAcks;
//   - MalformedMessage: a will with a delayMs out of bounds, or with more than MaxWillBytes of data;
//   - MissingData: a publish, send or will without data;
//   - InvalidChannel, InvalidPeerID, InvalidToken, CommandNotFound, GroupNotFound: no channel, to, token, command or group, or one with
//     half a character in it (ErrHalfCharacter). Their users check the rest.
//
// After an error f holds the requestId, if a good one could be read, so that the answer can carry it, and the
// type, if it is known; nothing else in it is of use.
//
// Decode does not check MaxFrameBytes: who reads the socket has to stop there already. b may be reused as soon as
// f.Data is done with.
func Decode(b []byte, f *ClientFrame) *Error {
	*f = ClientFrame{}
	var typ, requestID, channel, includeSenderMetadata, commands, to, token, command, status, delay, data []byte
	var since, last, idempotencyKey, ifOffset, ifEpoch []byte
	var group, maxInFlight, ackIDs, nack []byte
	var s scanner
	s.open(b)
	for s.next() {
		switch string(s.name) {
		case "type":
			typ = s.value
		case "requestId":
			requestID = s.value
		case "channel":
			channel = s.value
		case "includeSenderMetadata":
			includeSenderMetadata = s.value
		case "commands":
			commands = s.value
		case "since":
			since = s.value
		case "last":
			last = s.value
		case "group":
			group = s.value
		case "maxInFlight":
			maxInFlight = s.value
		case "ackIds":
			ackIDs = s.value
		case "nack":
			nack = s.value
		case "idempotencyKey":
			idempotencyKey = s.value
		case "ifOffset":
			ifOffset = s.value
		case "ifEpoch":
			ifEpoch = s.value
		case "command":
			command = s.value
		case "status":
			status = s.value
		case "to":
			to = s.value
		case "token":
			token = s.value
		case "delayMs":
			delay = s.value
		case "data":
			data = s.value
		}
	}
	if err := s.err(); err != nil {
		return Errorf(MalformedMessage, "a frame must be one JSON object: %v", err)
	}

	var name []byte
	whole := true
	if isString(typ) {
		name, whole = unquote(typ)
		f.Type = parseFrameType(name)
	}
	if f.Type == TypePing {
		return nil // uses no other field, not even requestId
	}
	// Before anything else is judged, so that every error can carry it.
	idErr := f.readRequestID(requestID)

	switch {
	case typ == nil:
		return Errorf(MalformedMessage, `type is missing; it must be a string, as in {"type":"ping"}`)
	case !isString(typ):
		return wrongType("type", typ, "a string")
	case idErr != nil:
		return idErr
	case !whole:
		return Errorf(MalformedMessage, "type %v", ErrHalfCharacter)
	case f.Type == 0:
		return Errorf(UnknownType, "type %.40q is unknown; it must be one of %q", name, frameTypeNames[1:])
	}

	switch f.Type {
	case TypeSend:
		return f.read("to", to, &f.To, InvalidPeerID, data)
	case TypeRefresh:
		return f.read("token", token, &f.Token, InvalidToken, nil)
	case TypePublish:
		if channel == nil || isString(channel) { // the first that is wrong is told
			if err := f.readConditions(idempotencyKey, ifOffset, ifEpoch); err != nil {
				return err
			}
		}
		return f.read("channel", channel, &f.Channel, InvalidChannel, data)
	case TypeUnsubscribe:
		if group != nil {
			return f.readGroup(group, channel, nil)
		}
	case TypeSubscribe:
		if channel != nil && !isString(channel) {
			break // likewise
		}
		switch string(includeSenderMetadata) {
		case "true":
			f.IncludeSenderMetadata = true
		case "false", "": // "" is absent
		default:
			return wrongType("includeSenderMetadata", includeSenderMetadata, "true or false")
		}
		if group != nil {
			return f.readGroup(group, channel, maxInFlight)
		}
		if err := f.readCommands(commands); err != nil {
			return err
		}
		if err := f.readStart(since, last); err != nil {
			return err
		}
	case TypeAnswer:
		return f.readAnswer(command, status, data)
	case TypeWill:
		return f.readWill(channel, delay, data)
	case TypeGroupAck:
		return f.readGroupAck(ackIDs, nack)
	}
	return f.read("channel", channel, &f.Channel, InvalidChannel, nil)
}

// read sets the field that the frame is about, and the data of those that have some. invalid is the error if the
// field is not there, or is no text.
func (f *ClientFrame) read(name string, value []byte, field *string, invalid Code, data []byte) *Error {
	switch {
	case value != nil && !isString(value):
		return wrongType(name, value, "a string")
	case data == nil && (f.Type == TypePublish || f.Type == TypeSend || f.Type == TypeWill):
		return Errorf(MissingData, "data is missing; it may be any JSON value, null included")
	case value == nil:
		return Errorf(invalid, "%s is missing", name)
	}
	text, whole := unquote(value)
	if !whole {
		return Errorf(invalid, "%s %v", name, ErrHalfCharacter)
	}
	*field, f.Data = string(text), data
	return nil
}

// readRequestID sets f.RequestID if value is a good one or nil, which is absent.
func (f *ClientFrame) readRequestID(value []byte) *Error {
	if value == nil {
		return nil
	}
	if !isString(value) {
		return wrongType("requestId", value, "a string of 1 to 128 bytes")
	}
	id, whole := unquote(value)
	if !whole {
		return Errorf(MalformedMessage, "requestId %v", ErrHalfCharacter)
	}
	if len(id) == 0 {
		return Errorf(MalformedMessage, "requestId is empty; it must be 1 to %d bytes long, or left out", MaxRequestIDBytes)
	}
	if len(id) > MaxRequestIDBytes {
		return Errorf(MalformedMessage, "requestId is %d bytes long; at most %d are allowed", len(id), MaxRequestIDBytes)
	}
	f.RequestID = string(id)
	return nil
}

// isString reports whether value, valid JSON or nil, is a string literal.
func isString(value []byte) bool { return len(value) > 0 && value[0] == '"' }

// wrongType is the refusal of a field whose value, valid JSON, is not what it must be.
func wrongType(field string, value []byte, mustBe string) *Error {
	return Errorf(MalformedMessage, "%s is %s; it must be %s", field, Kind(value), mustBe)
}
