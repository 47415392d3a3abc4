package load

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"fleetwire/bench/internal/wire"
)

// REST is one connection of a backend that publishes with requests, one at a time.
type REST struct {
	// Expect must be in the body of every answer.
	Expect []byte

	conn net.Conn
	in   *bufio.Reader
}

// mostAnswer is the longest answer that is read: a command with twenty peers.
const mostAnswer = 16 << 10

// restPatience bounds a request.
const restPatience = 10 * time.Second

// DialREST connects to the HTTP API at host:port.
func DialREST(address string) (*REST, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &REST{conn: conn, in: bufio.NewReaderSize(conn, mostAnswer)}, nil
}

// Close ends the connection.
func (r *REST) Close() { _ = r.conn.Close() }

// Do sends the request and reads the answer, which must be a 200 without an error
// in it.
func (r *REST) Do(m *wire.Message, stamp time.Duration) error {
	_ = r.conn.SetDeadline(time.Now().Add(restPatience))
	if _, err := r.conn.Write(m.Stamp(stamp)); err != nil {
		return err
	}
	return readResponse(r.in, r.Expect)
}

// readResponse reads one answer whole, which must contain what is expected. It allocates
// nothing while all is well.
func readResponse(in *bufio.Reader, expect []byte) error {
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	fine := strings.HasPrefix(string(status), "HTTP/1.1 200")
	refused := ""
	if !fine {
		refused = strings.TrimSpace(string(status))
	}
	length := -1
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		const name = "content-length:"
		if len(line) > len(name) && strings.EqualFold(string(line[:len(name)]), name) {
			if length, err = strconv.Atoi(strings.TrimSpace(string(line[len(name):]))); err != nil {
				return fmt.Errorf("answer with a bad Content-Length: %w", err)
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("answer without a Content-Length")
	}
	if fine {
		body, err := in.Peek(length)
		if err != nil {
			return err
		}
		if bytes.Contains(body, []byte(`"error":`)) { // Centrifugo's answer to a bad request is a 200, too
			return fmt.Errorf("refused: %s", body)
		}
		if !bytes.Contains(body, expect) {
			return fmt.Errorf("answer without %s: %.500s", expect, body)
		}
		_, err = in.Discard(length)
		return err
	}
	body := make([]byte, length)
	if _, err = io.ReadFull(in, body); err != nil {
		return err
	}
	return fmt.Errorf("%s: %s", refused, body)
}
