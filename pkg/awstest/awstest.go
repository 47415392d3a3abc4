// Package awstest has what the stand-ins for services of AWS share: they take signed requests in
// JSON, and answer as the services' documented API does.
package awstest

import (
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Operation is the operation that a stand-in has.
type Operation struct {
	Service string // as requests are signed for it, such as sqs
	Target  string // as requests name it in X-Amz-Target, such as AmazonSQS.SendMessageBatch
	// Endpoint is the variable by which the SDK finds the service, such as AWS_ENDPOINT_URL_SQS.
	Endpoint string
}

// Error is how a request fails. Its status is 400 if it has none.
type Error struct {
	Status        int
	Code, Message string
}

// Server is one stand-in. Point the SDK at it with Environment.
type Server struct {
	*httptest.Server

	operation Operation
	mu        sync.Mutex
	requests  int
	region    string // of the last request's signature
}

// Start starts one, ended with the test. It answers a request with what answer makes of its body:
// called by several goroutines at once.
func Start[In any](t testing.TB, o Operation, answer func(In) (any, *Error)) *Server {
	s := &Server{operation: o}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in In
		var out any
		failed := s.check(r)
		if failed == nil {
			if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
				failed = &Error{Code: "SerializationException", Message: err.Error()}
			} else {
				out, failed = answer(in)
			}
		}
		write(w, r, out, failed)
	}))
	t.Cleanup(s.Close)
	return s
}

// Environment makes the SDK find the server, and credentials to sign with.
func (s *Server) Environment() map[string]string {
	return map[string]string{
		s.operation.Endpoint: s.URL, "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "not-a-secret",
		"AWS_SESSION_TOKEN": "", "AWS_EC2_METADATA_DISABLED": "true",
	}
}

// Requests is how many came so far, and the region that the last was signed for.
func (s *Server) Requests() (n int, region string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, s.region
}

// check counts a request, and returns what is wrong with its head.
func (s *Server) check(r *http.Request) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	// Authorization: AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/<service>/aws4_request, …
	scope := strings.Split(r.Header.Get("Authorization"), "/")
	if len(scope) < 4 || scope[3] != s.operation.Service {
		return &Error{Code: "MissingAuthenticationTokenException", Message: "the request is not signed for " + s.operation.Service}
	}
	s.region = scope[2]
	if target := r.Header.Get("X-Amz-Target"); r.Method != http.MethodPost || target != s.operation.Target {
		return &Error{Code: "UnknownOperationException", Message: target}
	}
	return nil
}

func write(w http.ResponseWriter, r *http.Request, out any, failed *Error) {
	w.Header().Set("Content-Type", r.Header.Get("Content-Type")) // of the version of the protocol
	w.Header().Set("X-Amzn-Requestid", rand.Text())              // another each time, as AWS has it
	if failed != nil {
		status := failed.Status
		if status == 0 {
			status = http.StatusBadRequest
		}
		w.WriteHeader(status)
		out = map[string]string{"__type": failed.Code, "message": failed.Message}
	}
	_ = json.NewEncoder(w).Encode(out)
}
