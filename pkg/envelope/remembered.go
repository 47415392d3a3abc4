package envelope

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"fleetwire/clients/go/protocol"
)

// A message that its channel remembers travels to Redis as a record, without a frame:
// only there it gets its position. pkg/history/channel.lua keeps and publishes it behind a
// line that tells the position, when that was by Redis's clock (ms), and for how long the
// channel remembers (s):
//
//	byte  0      version, 7
//	then         EPOCH,OFFSET,AT,TTL\n
//	bytes 0–7    id of the publishing process
//	bytes 8–15   number of the message within that process
//	bytes 16–23  connection that published it, within that process; 0: none
//	byte  24     length of the sender's peer id
//	bytes 25–26  length of the sender's metadata
//	then         the peer id, the metadata, and data
const (
	rememberedVersion = 7
	recordHeaderSize  = 27
)

// EncodeRecord builds the record of a message to a channel that remembers.
func EncodeRecord(id ID, m *Message) []byte {
	r := make([]byte, recordHeaderSize, recordHeaderSize+len(m.From)+len(m.FromMetadata)+len(m.Data))
	binary.BigEndian.PutUint64(r, id.Process)
	binary.BigEndian.PutUint64(r[8:], id.Sequence)
	binary.BigEndian.PutUint64(r[16:], m.Connection)
	r[24] = byte(len(m.From)) // at most 128 (protocol §3)
	binary.BigEndian.PutUint16(r[25:], uint16(len(m.FromMetadata)))
	r = append(r, m.From...)
	r = append(r, m.FromMetadata...)
	return append(r, m.Data...)
}

// Remembered is a message as a channel keeps it. Its slices alias what it was read from.
type Remembered struct {
	ID           ID
	Connection   uint64 // that published it, in the process ID.Process; 0: none
	Position     protocol.Position
	At           int64 // unix ms, by Redis's clock
	From         string
	FromMetadata []byte // JSON object, or empty
	Data         []byte
}

// ParseRemembered reads what a channel keeps of a message.
func ParseRemembered(e []byte) (r Remembered, err error) {
	if len(e) == 0 || e[0] != rememberedVersion {
		return r, errEnvelope
	}
	line, record, ok := bytes.Cut(e[1:], []byte("\n"))
	if !ok || len(record) < recordHeaderSize {
		return r, errEnvelope
	}
	if r.Position, r.At, err = parsePlace(string(line)); err != nil {
		return r, err
	}
	r.ID = ID{binary.BigEndian.Uint64(record), binary.BigEndian.Uint64(record[8:])}
	r.Connection = binary.BigEndian.Uint64(record[16:])
	from, metadata := int(record[24]), int(binary.BigEndian.Uint16(record[25:]))
	rest := record[recordHeaderSize:]
	if len(rest) < from+metadata+1 {
		return r, errEnvelope
	}
	r.From = string(rest[:from])
	r.FromMetadata = rest[from : from+metadata : from+metadata]
	r.Data = rest[from+metadata:]
	return r, nil
}

// parsePlace reads EPOCH,OFFSET,AT,TTL.
func parsePlace(line string) (p protocol.Position, at int64, err error) {
	var fields [4]string
	n := 0
	for i, start := 0, 0; i <= len(line); i++ {
		if i < len(line) && line[i] != ',' {
			continue
		}
		if n == len(fields) {
			return p, 0, errEnvelope
		}
		fields[n] = line[start:i]
		n, start = n+1, i+1
	}
	offset, err1 := strconv.ParseUint(fields[1], 10, 64)
	at, err2 := strconv.ParseInt(fields[2], 10, 64)
	if n != len(fields) || fields[0] == "" || err1 != nil || err2 != nil || offset == 0 {
		return p, 0, errEnvelope
	}
	return protocol.Position{Epoch: fields[0], Offset: offset}, at, nil
}

// Frame is the whole WebSocket text frame of the message. withMetadata is for
// subscriptions that asked for the sender's metadata.
func (r *Remembered) Frame(channel string, withMetadata, replayed bool) []byte {
	metadata := r.FromMetadata
	if !withMetadata || len(metadata) == 0 {
		metadata = nil
	}
	// The body is written behind room for the longest header, and moved up to the
	// header that it turns out to need.
	frame := make([]byte, maxTextHeader, maxTextHeader+128+len(channel)+len(r.From)+len(metadata)+len(r.Data))
	frame = protocol.AppendRemembered(frame, channel, r.From, metadata, r.Data, r.Position.Offset, replayed)
	body := frame[maxTextHeader:]
	return append(protocol.AppendTextHeader(frame[:0], len(body)), body...)
}

// decodeRemembered reads the envelope of a message that its channel remembers, and builds
// its frame.
func (d *Delivery) decodeRemembered(e []byte) error {
	r, err := ParseRemembered(e)
	if err != nil {
		return err
	}
	d.ID, d.Publisher, d.Position = r.ID, r.Connection, r.Position
	d.FromMetadata = r.FromMetadata
	d.dataLen = len(r.Data)
	d.Frame = r.Frame(d.Channel, false, false)
	d.tail = len(`,"offset":}`) + len(strconv.FormatUint(r.Position.Offset, 10))
	return nil
}
