// Package awssecrettest is a stand-in for AWS Secrets Manager: it speaks as much
// of the service's documented JSON API as reading a secret takes.
package awssecrettest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Server is one Secrets Manager. Point the SDK at it with Environment.
type Server struct {
	*httptest.Server

	mu       sync.Mutex
	secrets  map[string]secret
	broken   bool
	readings int
	region   string // of the last request's signature
}

type secret struct {
	text    string
	version int
}

// Start starts an empty one, ended with the test.
func Start(t testing.TB) *Server {
	s := &Server{secrets: map[string]secret{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// Environment makes the SDK find the server, and credentials to sign with.
func (s *Server) Environment() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": s.URL,
		"AWS_ACCESS_KEY_ID":                "AKIDEXAMPLE",
		"AWS_SECRET_ACCESS_KEY":            "not-a-secret",
		"AWS_SESSION_TOKEN":                "",
		"AWS_EC2_METADATA_DISABLED":        "true",
	}
}

// Put stores a new version of a secret.
func (s *Server) Put(arn, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[arn] = secret{text: text, version: s.secrets[arn].version + 1}
}

// Break makes every request fail until it is called with false.
func (s *Server) Break(broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = broken
}

// Readings is how many requests came so far, and the region that the last was
// signed for.
func (s *Server) Readings() (n int, region string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.readings, s.region
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readings++
	// Authorization: AWS4-HMAC-SHA256 Credential=<key>/<date>/<region>/secretsmanager/aws4_request, …
	scope := strings.Split(r.Header.Get("Authorization"), "/")
	if len(scope) < 4 || scope[3] != "secretsmanager" {
		fail(w, http.StatusBadRequest, "MissingAuthenticationTokenException", "the request is not signed for secretsmanager")
		return
	}
	s.region = scope[2]
	if target := r.Header.Get("X-Amz-Target"); r.Method != http.MethodPost || target != "secretsmanager.GetSecretValue" {
		fail(w, http.StatusBadRequest, "UnknownOperationException", target)
		return
	}
	var in struct{ SecretId string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		fail(w, http.StatusBadRequest, "SerializationException", err.Error())
		return
	}
	found, ok := s.secrets[in.SecretId]
	switch {
	case s.broken:
		fail(w, http.StatusInternalServerError, "InternalServiceError", "broken by the test")
	case !ok:
		fail(w, http.StatusBadRequest, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	default:
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"ARN": in.SecretId, "Name": "fleetwire", "CreatedDate": 1.7672256e9,
			"VersionId":     fmt.Sprintf("00000000-0000-4000-8000-%012d", found.version),
			"VersionStages": []string{"AWSCURRENT"}, "SecretString": found.text,
		})
	}
}

func fail(w http.ResponseWriter, status int, kind, message string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.Header().Set("X-Amzn-Requestid", rand.Text()) // another each time, as AWS has it
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": message})
}
