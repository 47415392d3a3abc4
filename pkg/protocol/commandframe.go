package protocol

import "strconv"

// CommandRef is the field `command` of a message that its receiver answers (protocol §8).
type CommandRef struct {
	ID          string
	Attempt     int   // the number of the hand-over, from 1
	ExpiresInMs int64 // until the command's TTL ends; under 0: it has none, and the field is left out
	TimeoutMs   int64 // for the answer, from the hand-over
}

// AppendCommand appends a message frame with the field command. message is the frame without it, as AppendMessage
// makes it.
func AppendCommand(dst, message []byte, ref CommandRef) []byte {
	dst = append(dst, message[:len(message)-1]...)
	dst = append(dst, `,"command":{"id":`...)
	dst = AppendString(dst, ref.ID)
	dst = append(dst, `,"attempt":`...)
	dst = strconv.AppendInt(dst, int64(ref.Attempt), 10)
	if ref.ExpiresInMs >= 0 {
		dst = append(dst, `,"expiresInMs":`...)
		dst = strconv.AppendInt(dst, ref.ExpiresInMs, 10)
	}
	dst = append(dst, `,"timeoutMs":`...)
	dst = strconv.AppendInt(dst, ref.TimeoutMs, 10)
	return append(dst, "}}"...)
}

// AppendCommandCancelled appends the frame that tells a subscriber who confirms that a command was cancelled.
func AppendCommandCancelled(dst []byte, id string) []byte {
	dst = append(dst, `{"type":"command_cancelled","command":`...)
	dst = AppendString(dst, id)
	return append(dst, '}')
}
