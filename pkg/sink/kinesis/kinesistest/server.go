// Package kinesistest is a stand-in for Amazon Kinesis Data Streams: it speaks as much of the
// service's documented JSON API as putting records takes, with its limits.
package kinesistest

import (
	"crypto/md5" //nolint:gosec // the service's hash of partition keys
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"fleetwire/pkg/awstest"
)

// Server is one Kinesis. Point the SDK at it with Environment.
type Server struct {
	*awstest.Server

	mu       sync.Mutex
	streams  map[string]*stream // by name
	fail     func(Record) (code, message string)
	throttle int
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
	s.Server = awstest.Start(t, awstest.Operation{Service: "kinesis", Target: "Kinesis_20131202.PutRecords", Endpoint: "AWS_ENDPOINT_URL_KINESIS"}, s.answer)
	return s
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

type request struct {
	StreamName, StreamARN string
	Records               []Record
}

func (s *Server) answer(in request) (any, *awstest.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.throttle > 0 {
		s.throttle--
		return nil, &awstest.Error{Code: "LimitExceededException", Message: "Rate exceeded"}
	}
	name := in.StreamName
	if name == "" {
		name = in.StreamARN[strings.LastIndex(in.StreamARN, "/")+1:]
	}
	found := s.streams[name]
	if found == nil {
		return nil, &awstest.Error{Code: "ResourceNotFoundException", Message: "Stream " + name + " under account 123456789012 not found."}
	}
	if message := check(in.Records); message != "" {
		return nil, &awstest.Error{Code: "ValidationException", Message: message}
	}
	return s.put(found, in.Records), nil
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

func (s *Server) put(to *stream, records []Record) any {
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
	return map[string]any{"FailedRecordCount": failures, "Records": results}
}
