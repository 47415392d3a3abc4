// Package sqstest is a stand-in for Amazon SQS: it speaks as much of the service's documented JSON
// API as sending takes, with its limits.
package sqstest

import (
	"crypto/md5" //nolint:gosec // the service's checksum
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"fleetwire/pkg/awstest"
)

// Server is one SQS. Point the SDK at it with Environment.
type Server struct {
	*awstest.Server

	mu       sync.Mutex
	queues   map[string]*queue
	fail     func(Entry) *Failure
	throttle int
}

type queue struct {
	fifo     bool
	maxBytes int
	messages []Entry
	seen     map[string]bool // deduplication ids
}

// Entry is a message that was sent.
type Entry struct {
	ID              string `json:"Id"`
	Body            string `json:"MessageBody"`
	GroupID         string `json:"MessageGroupId"`
	DeduplicationID string `json:"MessageDeduplicationId"`
}

// Failure is how one message of a request fails.
type Failure struct {
	ID          string `json:"Id"`
	Code        string `json:"Code"`
	Message     string `json:"Message"`
	SenderFault bool   `json:"SenderFault"`
}

// Start starts one without queues, ended with the test.
func Start(t testing.TB) *Server {
	s := &Server{queues: map[string]*queue{}}
	s.Server = awstest.Start(t, awstest.Operation{Service: "sqs", Target: "AmazonSQS.SendMessageBatch", Endpoint: "AWS_ENDPOINT_URL_SQS"}, s.answer)
	return s
}

// Queue creates a queue, and returns its URL. One whose name ends in .fifo is a FIFO queue.
// maxBytes is the longest message and request that it takes, at most 1 MiB.
func (s *Server) Queue(name string, maxBytes int) (url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	url = "https://sqs.eu-central-1.amazonaws.com/123456789012/" + name
	s.queues[url] = &queue{fifo: strings.HasSuffix(name, ".fifo"), maxBytes: maxBytes, seen: map[string]bool{}}
	return url
}

// Messages are those that a queue has.
func (s *Server) Messages(url string) []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queues[url].messages)
}

// Fail has single messages fail: those for which f returns how.
func (s *Server) Fail(f func(Entry) *Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// Throttle has the next n requests fail.
func (s *Server) Throttle(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.throttle = n
}

type request struct {
	QueueURL string `json:"QueueUrl"`
	Entries  []Entry
}

func (s *Server) answer(in request) (any, *awstest.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queues[in.QueueURL]
	var code, message string
	switch {
	case s.throttle > 0:
		s.throttle--
		code, message = "RequestThrottled", "Request was denied due to request throttling."
	case q == nil:
		code, message = "QueueDoesNotExist", "The specified queue does not exist."
	default:
		code, message = q.check(in.Entries)
	}
	if code != "" {
		return nil, &awstest.Error{Code: "com.amazonaws.sqs#" + code, Message: message}
	}
	return s.send(q, in.Entries), nil
}

var (
	validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)
	// validName is of message groups and of deduplication ids.
	validName = regexp.MustCompile("^[!-~]{1,128}$")
)

// check is what is wrong with a request as a whole.
func (q *queue) check(entries []Entry) (code, message string) {
	ids := map[string]bool{}
	bytes := 0
	for _, e := range entries {
		switch {
		case !validID.MatchString(e.ID):
			return "InvalidBatchEntryId", "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long."
		case ids[e.ID]:
			return "BatchEntryIdsNotDistinct", "Id " + e.ID + " repeated."
		case !utf8.ValidString(e.Body) || strings.ContainsFunc(e.Body, refused):
			return "InvalidMessageContents", "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
		}
		ids[e.ID] = true
		bytes += len(e.Body)
	}
	switch {
	case len(entries) == 0:
		return "EmptyBatchRequest", "There should be at least one SendMessageBatchRequestEntry in the request."
	case len(entries) > 10:
		return "TooManyEntriesInBatchRequest", fmt.Sprintf("Maximum number of entries per request are 10. You have sent %d.", len(entries))
	case bytes > q.maxBytes:
		return "BatchRequestTooLong", fmt.Sprintf("Batch requests cannot be longer than %d bytes. You have sent %d bytes.", q.maxBytes, bytes)
	}
	return "", ""
}

func refused(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == '\uFFFE' || r == '\uFFFF'
}

func (s *Server) send(q *queue, entries []Entry) any {
	successful, failed := []any{}, []any{}
	for _, e := range entries {
		failure := (*Failure)(nil)
		switch {
		case q.fifo && !validName.MatchString(e.GroupID):
			failure = &Failure{Code: "MissingParameter", Message: "The request must contain a valid MessageGroupId.", SenderFault: true}
		case q.fifo && !validName.MatchString(e.DeduplicationID):
			failure = &Failure{Code: "InvalidParameterValue", Message: "The request must contain a valid MessageDeduplicationId.", SenderFault: true}
		case s.fail != nil:
			failure = s.fail(e)
		}
		if failure != nil {
			failure.ID = e.ID
			failed = append(failed, failure)
			continue
		}
		if !q.fifo || !q.seen[e.DeduplicationID] {
			q.messages = append(q.messages, e)
			q.seen[e.DeduplicationID] = true
		}
		sum := md5.Sum([]byte(e.Body)) //nolint:gosec // the service's checksum
		successful = append(successful, map[string]any{"Id": e.ID, "MessageId": rand.Text(), "MD5OfMessageBody": hex.EncodeToString(sum[:])})
	}
	return map[string]any{"Successful": successful, "Failed": failed}
}
