package commands

import (
	"strconv"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/command"
)

// The bodies are appended by hand, because data goes out byte for byte: encoding/json
// would take white space out of it.

func appendCommand(b []byte, c *command.Command) []byte {
	b = appendString(append(b, '{'), "id", c.ID)
	b = appendString(append(b, ','), "channel", c.Channel)
	b = append(append(b, `,"data":`...), c.Data...)
	b = appendString(append(b, ','), "from", c.From)
	b = appendString(append(b, ','), "status", string(c.Status))
	b = appendTime(append(b, ','), "createdAt", c.CreatedAt)
	b = appendTime(append(b, ','), "expiresAt", c.ExpiresAt)
	b = appendNumber(append(b, ','), "expect", int64(c.Expect))
	b = command.AppendCounts(append(b, `,"counts":`...), c.Counts)
	b = append(b, `,"answers":[`...)
	b = appendAnswers(b, c.Answers)
	b = append(b, ']')
	if c.More {
		b = append(b, `,"more":true`...)
	}
	return append(b, '}')
}

func appendAnswers(b []byte, answers []command.PeerAnswer) []byte {
	for i, a := range answers {
		if i > 0 {
			b = append(b, ',')
		}
		b = command.AppendAnswer(b, a)
	}
	return b
}

func appendAnswersPage(b []byte, p *command.AnswersPage) []byte {
	b = append(b, `{"answers":[`...)
	b = appendAnswers(b, p.Answers)
	return appendCursor(append(b, ']'), p.Next)
}

func appendPage(b []byte, channel string, p *command.Page) []byte {
	b = appendString(append(b, '{'), "channel", channel)
	b = append(b, `,"commands":[`...)
	for i, c := range p.Commands {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendCommand(b, c)
	}
	return appendCursor(append(b, ']'), p.Next)
}

// appendCursor ends a page.
func appendCursor(b []byte, next string) []byte {
	if next == "" {
		return append(b, `,"cursor":null}`...)
	}
	return append(appendString(append(b, ','), "cursor", api.Cursor(next)), '}')
}

func appendString(b []byte, name, value string) []byte {
	b = append(append(append(b, '"'), name...), `":`...)
	return protocol.AppendString(b, value)
}

func appendNumber(b []byte, name string, n int64) []byte {
	b = append(append(append(b, '"'), name...), `":`...)
	return strconv.AppendInt(b, n, 10)
}

// appendTime appends unix milliseconds, null for 0.
func appendTime(b []byte, name string, ms int64) []byte {
	if ms == 0 {
		return append(append(append(b, '"'), name...), `":null`...)
	}
	return appendNumber(b, name, ms)
}
