package protocol

import (
	"encoding/json"
	"strconv"
)

// Bounds of what sockets say of groups of ingesters (protocol §10.2).
const (
	// MaxInFlight bounds `maxInFlight`, and DefaultInFlight is what it is unless a subscribe says it.
	MaxInFlight     = 1000
	DefaultInFlight = 100
	// MaxGroupAcks bounds the messages that one acknowledgement names.
	MaxGroupAcks = 1000
	// MaxNackDelayMs bounds the `delayMs` of a message that is refused.
	MaxNackDelayMs = 12 * 3600 * 1000
	// MaxGroupNameBytes bounds a group's name.
	MaxGroupNameBytes = 64
)

// GroupNack is a message that an ingester refuses.
type GroupNack struct {
	AckID   string
	DelayMs int64 // until it is delivered again
}

// readGroup sets the fields of a subscribe or an unsubscribe that is about a group.
func (f *ClientFrame) readGroup(group, channel, maxInFlight []byte) *Error {
	switch {
	case channel != nil:
		return Errorf(MalformedMessage, "channel and group are both there; a subscription is to one of them")
	case !isString(group):
		return wrongType("group", group, "the name of a group, a string")
	}
	name, whole := unquote(group)
	if !whole || len(name) == 0 || len(name) > MaxGroupNameBytes {
		return Errorf(GroupNotFound, "group is %s; it must be the name of a group of the app, 1–%d letters, digits, _ and -", shown(group), MaxGroupNameBytes)
	}
	f.Group, f.MaxInFlight = string(name), DefaultInFlight
	if maxInFlight == nil || f.Type != TypeSubscribe {
		return nil
	}
	n, err := readWhole("maxInFlight", maxInFlight, 1, MaxInFlight)
	f.MaxInFlight = int(n)
	return err
}

// readGroupAck sets the fields of a group_ack.
func (f *ClientFrame) readGroupAck(ackIDs, nack []byte) *Error {
	if err := readItems("ackIds", "strings", ackIDs, func(name string, item []byte) (err *Error) {
		id, err := readAckID(name, item)
		f.AckIDs = append(f.AckIDs, id)
		return err
	}); err != nil {
		return err
	}
	if err := readItems("nack", `objects {"ackId","delayMs"}`, nack, func(name string, item []byte) *Error {
		n, err := readNack(name, item)
		f.Nack = append(f.Nack, n)
		return err
	}); err != nil {
		return err
	}
	if n := len(f.AckIDs) + len(f.Nack); n == 0 || n > MaxGroupAcks {
		return Errorf(MalformedMessage, "ackIds and nack name %d messages together; they must name 1 to %d", n, MaxGroupAcks)
	}
	return nil
}

// readItems reads an array, which may be missing.
func readItems(name, of string, value []byte, read func(name string, item []byte) *Error) *Error {
	if value == nil {
		return nil
	}
	var items []json.RawMessage
	if value[0] != '[' || json.Unmarshal(value, &items) != nil {
		return wrongType(name, value, "an array of "+of)
	}
	if len(items) > MaxGroupAcks {
		return Errorf(MalformedMessage, "%s names %d messages; at most %d are allowed", name, len(items), MaxGroupAcks)
	}
	for i, item := range items {
		if err := read(name+"["+strconv.Itoa(i)+"]", item); err != nil {
			return err
		}
	}
	return nil
}

func readAckID(name string, value []byte) (string, *Error) {
	if !isString(value) {
		return "", wrongType(name, value, "the ackId of a message, a string")
	}
	id, _ := unquote(value) // half a character is in no id
	return string(id), nil
}

func readNack(name string, value []byte) (n GroupNack, refused *Error) {
	if value[0] != '{' {
		return n, wrongType(name, value, `an object {"ackId","delayMs"}`)
	}
	var id, delay []byte
	_ = ScanObject(value, func(field string, v []byte) error { // it is valid
		switch field {
		case "ackId":
			id = v
		case "delayMs":
			delay = v
		}
		return nil
	})
	if id == nil {
		return n, Errorf(MalformedMessage, "%s has no ackId; it must name a message", name)
	}
	if n.AckID, refused = readAckID(name+".ackId", id); refused != nil || delay == nil {
		return n, refused
	}
	ms, refused := readWhole(name+".delayMs", delay, 0, MaxNackDelayMs)
	n.DelayMs = int64(ms)
	return n, refused
}

// GroupDelivery is what a message frame says of a delivery to an ingester (protocol §10.2).
type GroupDelivery struct {
	Group       string
	AckID       string
	PublishedAt int64 // unix ms
	Attempt     int   // from 1
}

// AppendGroupMessage appends the message frame of a message that waited for a group.
func AppendGroupMessage(dst []byte, channel, from string, fromMetadata, data []byte, d GroupDelivery) []byte {
	dst = AppendMessage(dst, channel, from, fromMetadata, data)
	dst = append(dst[:len(dst)-1], `,"group":`...)
	dst = AppendString(dst, d.Group)
	dst = append(dst, `,"publishedAt":`...)
	dst = strconv.AppendInt(dst, d.PublishedAt, 10)
	dst = append(dst, `,"ackId":`...)
	dst = AppendString(dst, d.AckID)
	dst = append(dst, `,"attempt":`...)
	dst = strconv.AppendInt(dst, int64(d.Attempt), 10)
	return append(dst, '}')
}

// AppendGroupError appends the error frame that says that the subscription to a group has ended.
func AppendGroupError(dst []byte, e *Error, group string) []byte {
	dst = AppendError(dst, "", e)
	dst = append(dst[:len(dst)-1], `,"group":`...)
	return append(AppendString(dst, group), '}')
}

// AppendGroupAck appends the ack of a group_ack. lost are the messages that were neither acknowledged nor refused by
// it, since their leases were lost; none are left out.
func AppendGroupAck(dst []byte, requestID string, lost []string) []byte {
	dst = AppendAck(dst, requestID)
	if len(lost) == 0 {
		return dst
	}
	dst = append(dst[:len(dst)-1], `,"leaseLost":[`...)
	for i, id := range lost {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, id)
	}
	return append(dst, ']', '}')
}
