// Package awssecrettest is a stand-in for AWS Secrets Manager: it speaks as much
// of the service's documented JSON API as reading a secret takes.
package awssecrettest

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"fleetwire/pkg/awstest"
)

// Server is one Secrets Manager. Point the SDK at it with Environment.
type Server struct {
	*awstest.Server

	mu      sync.Mutex
	secrets map[string]secret
	broken  bool
}

type secret struct {
	text    string
	version int
}

// Start starts an empty one, ended with the test.
func Start(t testing.TB) *Server {
	s := &Server{secrets: map[string]secret{}}
	s.Server = awstest.Start(t, awstest.Operation{Service: "secretsmanager", Target: "secretsmanager.GetSecretValue", Endpoint: "AWS_ENDPOINT_URL_SECRETS_MANAGER"}, s.answer)
	return s
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

func (s *Server) answer(in struct{ SecretId string }) (any, *awstest.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.secrets[in.SecretId]
	switch {
	case s.broken:
		return nil, &awstest.Error{Status: http.StatusInternalServerError, Code: "InternalServiceError", Message: "broken by the test"}
	case !ok:
		return nil, &awstest.Error{Code: "ResourceNotFoundException", Message: "Secrets Manager can't find the specified secret."}
	}
	return map[string]any{
		"ARN": in.SecretId, "Name": "fleetwire", "CreatedDate": 1.7672256e9,
		"VersionId":     fmt.Sprintf("00000000-0000-4000-8000-%012d", found.version),
		"VersionStages": []string{"AWSCURRENT"}, "SecretString": found.text,
	}, nil
}
