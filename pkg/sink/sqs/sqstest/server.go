// Package sqstest is a stand-in for Amazon SQS: it speaks as much of the service's documented JSON
// API as sending takes, with its limits.
package sqstest

import (
	"crypto/md5" //nolint:gosec // the service's checksum
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// Server is one SQS. Point the SDK at it with Environment.
type Server struct {
	*httptest.Server

	mu       sync.Mutex
	queues   map[string]*queue
	fail     func(Entry) *Failure
	throttle int
	requests int
	region   string // of the last request's signature
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
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// Environment makes the SDK find the server, and credentials to sign with.
func (s *Server) Environment() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL_SQS": s.URL, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret",
		"AWS_SESSION_TOKEN": "", "AWS_EC2_METADATA_DISABLED": "true",
	}
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

// Requests is how many came, and the region that the last was signed for.
func (s *Server) Requests() (n int, region string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, s.region
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	// Authorization: AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/sqs/aws4_request, …
	scope := strings.Split(r.Header.Get("Authorization"), "/")
	if len(scope) < 4 || scope[3] != "sqs" {
		fail(w, http.StatusForbidden, "MissingAuthenticationToken", "the request is not signed for sqs")
		return
	}
	s.region = scope[2]
	if target := r.Header.Get("X-Amz-Target"); r.Method != http.MethodPost || target != "AmazonSQS.SendMessageBatch" {
		fail(w, http.StatusBadRequest, "UnknownOperationException", target)
		return
	}
	if s.throttle > 0 {
		s.throttle--
		fail(w, http.StatusBadRequest, "com.amazonaws.sqs#RequestThrottled", "Request was denied due to request throttling.")
		return
	}
	var in struct {
		QueueURL string `json:"QueueUrl"`
		Entries  []Entry
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		fail(w, http.StatusBadRequest, "SerializationException", err.Error())
		return
	}
	q := s.queues[in.QueueURL]
	if q == nil {
		fail(w, http.StatusBadRequest, "com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.")
		return
	}
	if code, message := q.check(in.Entries); code != "" {
		fail(w, http.StatusBadRequest, "com.amazonaws.sqs#"+code, message)
		return
	}
	s.send(w, q, in.Entries)
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

func (s *Server) send(w http.ResponseWriter, q *queue, entries []Entry) {
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
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	_ = json.NewEncoder(w).Encode(map[string]any{"Successful": successful, "Failed": failed})
}

func fail(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amzn-Requestid", rand.Text()) // another each time, as AWS has it
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": message})
}
