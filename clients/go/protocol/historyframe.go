package protocol

import (
	"strconv"
	"unicode/utf8"
)

// Bounds of what is said of history (protocol §9).
const (
	// MaxEpochBytes bounds an epoch's name.
	MaxEpochBytes = 32
	// MaxOffset bounds an offset: every JSON reader can hold it.
	MaxOffset = 1<<53 - 1
	// MaxLast bounds `last`: no channel remembers more.
	MaxLast = 1000
	// MaxIdempotencyKeyBytes bounds an `idempotencyKey`.
	MaxIdempotencyKeyBytes = 128
)

// ValidEpoch reports whether s can name an epoch: 1–32 letters and digits (protocol §9).
func ValidEpoch(s string) bool {
	if len(s) == 0 || len(s) > MaxEpochBytes {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// readStart sets f.Since or f.Last: where a subscribe has the replay begin.
func (f *ClientFrame) readStart(since, last []byte) *Error {
	switch {
	case since != nil && last != nil:
		return Errorf(MalformedMessage, `since and last are both there; a replay begins at one of them`)
	case since != nil:
		return f.readSince(since)
	case last != nil:
		n, err := readWhole("last", last, 0, MaxLast)
		count := int(n)
		f.Last = &count
		return err
	}
	return nil
}

const sinceExample = `such as {"epoch":"6Hq2","offset":41}`

func (f *ClientFrame) readSince(value []byte) *Error {
	if value[0] != '{' {
		return wrongType("since", value, "a position, "+sinceExample)
	}
	var epoch, offset []byte
	_ = ScanObject(value, func(name string, v []byte) error { // it is valid
		switch name {
		case "epoch":
			epoch = v
		case "offset":
			offset = v
		}
		return nil
	})
	if epoch == nil || offset == nil {
		return Errorf(MalformedMessage, "since has no epoch or no offset; it must have both, %s", sinceExample)
	}
	at := &Position{}
	var err *Error
	if at.Epoch, err = readEpoch("since.epoch", epoch); err != nil {
		return err
	}
	at.Offset, err = readWhole("since.offset", offset, 0, MaxOffset)
	f.Since = at
	return err
}

// readConditions sets what a publish asks for beside being published.
func (f *ClientFrame) readConditions(key, offset, epoch []byte) *Error {
	if key != nil {
		if err := f.readIdempotencyKey(key); err != nil {
			return err
		}
	}
	if offset != nil {
		n, err := readWhole("ifOffset", offset, 0, MaxOffset)
		if err != nil {
			return err
		}
		f.IfOffset = &n
	}
	if epoch == nil {
		return nil
	}
	if offset == nil {
		return Errorf(MalformedMessage, "ifEpoch is there without ifOffset; an epoch alone is no condition")
	}
	var err *Error
	f.IfEpoch, err = readEpoch("ifEpoch", epoch)
	return err
}

func (f *ClientFrame) readIdempotencyKey(value []byte) *Error {
	const name = "idempotencyKey"
	if !isString(value) {
		return wrongType(name, value, "a string of 1 to 128 bytes")
	}
	key, whole := unquote(value)
	switch {
	case !whole:
		return Errorf(MalformedMessage, "%s %v", name, ErrHalfCharacter)
	case len(key) == 0 || len(key) > MaxIdempotencyKeyBytes:
		return Errorf(MalformedMessage, "%s is %d bytes long; it must have 1 to %d", name, len(key), MaxIdempotencyKeyBytes)
	}
	f.IdempotencyKey = string(key)
	return nil
}

func readEpoch(name string, value []byte) (string, *Error) {
	if !isString(value) {
		return "", wrongType(name, value, "a string of 1 to 32 letters and digits")
	}
	epoch, whole := unquote(value)
	if !whole || !ValidEpoch(string(epoch)) {
		return "", Errorf(MalformedMessage, "%s is %s; it must be 1 to %d letters and digits", name, shown(value), MaxEpochBytes)
	}
	return string(epoch), nil
}

// readWhole reads a whole number, written without a fraction or an exponent.
func readWhole(name string, value []byte, least, most uint64) (uint64, *Error) {
	n, err := strconv.ParseUint(string(value), 10, 64)
	if err != nil || n < least || n > most {
		return 0, Errorf(MalformedMessage, "%s is %s; it must be a whole number from %d to %d", name, shown(value), least, most)
	}
	return n, nil
}

// shown is a JSON value for an error, cut if it is long.
func shown(value []byte) string {
	const most = 40
	if len(value) <= most {
		return string(value)
	}
	cut := most
	for !utf8.RuneStart(value[cut]) {
		cut--
	}
	return string(value[:cut]) + "…"
}

// appendPosition appends the members epoch and offset.
func appendPosition(dst []byte, at Position) []byte {
	dst = append(dst, `,"epoch":`...)
	dst = AppendString(dst, at.Epoch)
	dst = append(dst, `,"offset":`...)
	return strconv.AppendUint(dst, at.Offset, 10)
}

// AppendAckAt appends the ack of a publish into a channel that remembers, or of a subscribe to one without since: at is
// the message's position, or the newest.
func AppendAckAt(dst []byte, requestID string, at Position) []byte {
	dst = AppendAck(dst, requestID)
	return append(appendPosition(dst[:len(dst)-1], at), '}')
}

// AppendRecovered appends the ack of a subscribe with since: whether all that came after it follows. at is the newest
// position; its Epoch is "" if the channel remembers nothing.
func AppendRecovered(dst []byte, requestID string, at Position, recovered bool) []byte {
	dst = AppendAck(dst, requestID)
	dst = dst[:len(dst)-1]
	if at.Epoch != "" {
		dst = appendPosition(dst, at)
	}
	dst = append(dst, `,"recovered":`...)
	return append(strconv.AppendBool(dst, recovered), '}')
}

// AppendErrorAt appends an error frame with the newest position of its channel: of an offset_mismatch.
func AppendErrorAt(dst []byte, requestID string, e *Error, at Position) []byte {
	dst = AppendError(dst, requestID, e)
	return append(appendPosition(dst[:len(dst)-1], at), '}')
}

// AppendGap appends the frame that says that messages of a channel up to a position can't be delivered. Those
// after it follow.
func AppendGap(dst []byte, channel string, at Position) []byte {
	dst = append(dst, `{"type":"gap","channel":`...)
	dst = AppendString(dst, channel)
	return append(appendPosition(dst, at), '}')
}
