package command

import (
	"fmt"
	"strconv"

	"fleetwire/clients/go/protocol"
)

// AppendCounts appends counts as a JSON object.
func AppendCounts(b []byte, c Counts) []byte {
	return fmt.Appendf(b, `{"sent":%d,"received":%d,"running":%d,"succeeded":%d,"failed":%d,"rejected":%d,"timedOut":%d,"missing":%d}`,
		c.Sent, c.Received, c.Running, c.Succeeded, c.Failed, c.Rejected, c.TimedOut, c.Missing)
}

// AppendAnswer appends what became of a command at a peer as a JSON object. Its data goes out byte
// for byte: encoding/json would take white space out of it.
func AppendAnswer(b []byte, a PeerAnswer) []byte {
	b = protocol.AppendString(append(b, `{"peer":`...), a.Peer)
	b = appendStatus(append(b, ','), a.Status, a.Data)
	b = strconv.AppendInt(append(b, `,"attempt":`...), int64(a.Attempt), 10)
	b = appendTime(append(b, `,"sentAt":`...), a.SentAt)
	b = appendTime(append(b, `,"answeredAt":`...), a.AnsweredAt)
	if a.Late != nil {
		b = appendStatus(append(b, `,"late":{`...), a.Late.Status, a.Late.Data)
		b = append(appendTime(append(b, `,"answeredAt":`...), a.Late.AnsweredAt), '}')
	}
	return append(b, '}')
}

// appendStatus appends the members status and, if there is any, data.
func appendStatus(b []byte, status Status, data []byte) []byte {
	b = protocol.AppendString(append(b, `"status":`...), string(status))
	if data == nil {
		return b
	}
	return append(append(b, `,"data":`...), data...)
}

// appendTime appends unix milliseconds, null for 0.
func appendTime(b []byte, ms int64) []byte {
	if ms == 0 {
		return append(b, "null"...)
	}
	return strconv.AppendInt(b, ms, 10)
}
