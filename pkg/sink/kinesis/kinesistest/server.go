// Package kinesistest is a stand-in for Amazon Kinesis Data Streams: it speaks as much of the
// service's documented JSON API as putting records takes, with its limits.
package kinesistest

import (
	"crypto/md5" //nolint:gosec // the service's hash of partition keys
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// Server is one Kinesis. Point the SDK at it with Environment.
type Server struct {
	*httptest.Server

	mu       sync.Mutex
	streams  map[string]*stream // by name
	fail     func(Record) (code, message string)
	throttle int
	requests int
	region   string // of the last request's signature
}

type stream struct{ shards [][]Record }

// Record is a record that was put.
type Record struct {
	Data         []byte
	PartitionKey string
}

// Start starts one without streams, ended with the test.
func Start(t testing.TB) *Server {
	s := &Server{streams: map[string]*stream{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// Environment makes the SDK find the server, and credentials to sign with.
func (s *Server) Environment() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL_KINESIS": s.URL, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret",
		"AWS_SESSION_TOKEN": "", "AWS_EC2_METADATA_DISABLED": "true",
	}
}

// Stream creates a stream of some shards, and returns its ARN.
func (s *Server) Stream(name string, shards int) (arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams[name] = &stream{make([][]Record, shards)}
	return "arn:aws:kinesis:eu-central-1:123456789012:stream/" + name
}

// Records are those of each shard of a stream.
func (s *Server) Records(name string) (shards [][]Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, shard := range s.streams[name].shards {
		shards = append(shards, slices.Clone(shard))
	}
	return shards
}

// Fail has single records fail: those for which f returns a code.
func (s *Server) Fail(f func(Record) (code, message string)) {
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
	// Authorization: AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/kinesis/aws4_request, …
	scope := strings.Split(r.Header.Get("Authorization"), "/")
	if len(scope) < 4 || scope[3] != "kinesis" {
		fail(w, "MissingAuthenticationTokenException", "the request is not signed for kinesis")
		return
	}
	s.region = scope[2]
	if target := r.Header.Get("X-Amz-Target"); r.Method != http.MethodPost || target != "Kinesis_20131202.PutRecords" {
		fail(w, "UnknownOperationException", target)
		return
	}
	if s.throttle > 0 {
		s.throttle--
		fail(w, "LimitExceededException", "Rate exceeded")
		return
	}
	var in struct {
		StreamName, StreamARN string
		Records               []Record
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		fail(w, "SerializationException", err.Error())
		return
	}
	name := in.StreamName
	if name == "" {
		name = in.StreamARN[strings.LastIndex(in.StreamARN, "/")+1:]
	}
	found := s.streams[name]
	if found == nil {
		fail(w, "ResourceNotFoundException", "Stream "+name+" under account 123456789012 not found.")
		return
	}
	if message := check(in.Records); message != "" {
		fail(w, "ValidationException", message)
		return
	}
	s.put(w, found, in.Records)
}

// check is what is wrong with a request as a whole.
func check(records []Record) string {
	bytes := 0
	for _, r := range records {
		if n := utf8.RuneCountInString(r.PartitionKey); n < 1 || n > 256 {
			return fmt.Sprintf("1 validation error detected: partitionKey has %d characters; 1 to 256 are valid", n)
		}
		if len(r.Data)+len(r.PartitionKey) > 1<<20 { // unless the stream is set to more
			return "1 validation error detected: a record has more than 1 MiB"
		}
		bytes += len(r.Data) + len(r.PartitionKey)
	}
	if len(records) < 1 || len(records) > 500 || bytes > 10<<20 {
		return fmt.Sprintf("1 validation error detected: %d records, %d bytes; 1 to 500 records and 10 MiB are valid", len(records), bytes)
	}
	return ""
}

func (s *Server) put(w http.ResponseWriter, to *stream, records []Record) {
	results, failures := []any{}, 0
	for _, r := range records {
		if s.fail != nil {
			if code, message := s.fail(r); code != "" {
				failures++
				results = append(results, map[string]string{"ErrorCode": code, "ErrorMessage": message})
				continue
			}
		}
		shard := int(md5.Sum([]byte(r.PartitionKey))[0]) * len(to.shards) / 256 //nolint:gosec // as the service has it
		to.shards[shard] = append(to.shards[shard], r)
		results = append(results, map[string]string{"ShardId": fmt.Sprintf("shardId-%012d", shard), "SequenceNumber": fmt.Sprint(len(to.shards[shard]))})
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(map[string]any{"FailedRecordCount": failures, "Records": results})
}

func fail(w http.ResponseWriter, kind, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", rand.Text()) // another each time, as AWS has it
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": message})
}
