package protocol

import (
	"slices"
	"strconv"
)

// Confirm is the value of `commands` in the subscribe of a peer that confirms what it is handed.
const Confirm = "confirm"

// AnswerStatuses are the states that an answer can give (protocol §8).
var AnswerStatuses = []string{"received", "running", "succeeded", "failed", "rejected"}

// defaultAnswer is the status of an answer that names none.
const defaultAnswer = "succeeded"

// readCommands sets f.Commands.
func (f *ClientFrame) readCommands(value []byte) *Error {
	if value == nil {
		return nil
	}
	if !isString(value) {
		return wrongType("commands", value, `"confirm", or left out`)
	}
	if mode, _ := unquote(value); string(mode) != Confirm {
		return Errorf(MalformedMessage, `commands is %.40q; it must be "confirm", or left out`, mode)
	}
	f.Commands = Confirm
	return nil
}

// readAnswer sets the fields of an answer.
func (f *ClientFrame) readAnswer(command, status, data []byte) *Error {
	f.Status = defaultAnswer
	if status != nil {
		if !isString(status) {
			return wrongType("status", status, "a string")
		}
		text, _ := unquote(status)
		f.Status = string(text)
		if !slices.Contains(AnswerStatuses, f.Status) {
			return Errorf(MalformedMessage, "status %.40q is unknown; it must be one of %q", text, AnswerStatuses)
		}
	}
	if len(data) > MaxAnswerBytes {
		return Errorf(MalformedMessage, "data is %d bytes long; an answer has at most %d", len(data), MaxAnswerBytes)
	}
	return f.read("command", command, &f.Command, CommandNotFound, data)
}

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
