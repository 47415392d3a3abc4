package protocol

import "strconv"

// readWill sets the fields of a will. A channel that is null takes the will back: then there is no data, whatever the
// frame has.
func (f *ClientFrame) readWill(channel, delay, data []byte) *Error {
	if string(channel) == "null" {
		return nil
	}
	if channel != nil && !isString(channel) {
		return wrongType("channel", channel, "a string, or null to take the will back")
	}
	if err := f.readDelay(delay); err != nil {
		return err
	}
	if len(data) > MaxWillBytes {
		return Errorf(MalformedMessage, "data is %d bytes long; a will has at most %d", len(data), MaxWillBytes)
	}
	return f.read("channel", channel, &f.Channel, InvalidChannel, data)
}

// readDelay sets f.DelayMs, which is 0 if it is left out.
func (f *ClientFrame) readDelay(value []byte) *Error {
	switch {
	case value == nil:
		return nil
	case value[0] != '-' && (value[0] < '0' || value[0] > '9'):
		return wrongType("delayMs", value, "a whole number of milliseconds")
	}
	ms, err := strconv.ParseUint(string(value), 10, 63)
	if err != nil || ms > MaxWillDelayMs {
		return Errorf(MalformedMessage, "delayMs is %.40s; it must be a whole number of milliseconds from 0 to %d, in plain digits", value, MaxWillDelayMs)
	}
	f.DelayMs = int64(ms)
	return nil
}
