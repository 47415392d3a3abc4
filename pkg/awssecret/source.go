// Package awssecret takes configuration out of AWS Secrets Manager (protocol
// §7): wherever an apps document or a Redis URL is asked for, the ARN of a
// secret that holds it will do, as in
//
//	arn:aws:secretsmanager:eu-central-1:123456789012:secret:fleetwire-apps-AbCdEf
//
// The secret is read in the ARN's region, with the credentials that the AWS SDK
// finds where it runs: those of the Lambda function or of the ECS task. The
// SDK's AWS_ENDPOINT_URL_SECRETS_MANAGER names another endpoint.
//
// No error made here contains a secret's value.
package awssecret

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"fleetwire/pkg/redact"
)

// Source reads secrets. The zero value is ready; it is safe for concurrent use.
type Source struct {
	mu      sync.Mutex
	clients map[string]*secretsmanager.Client // by region
}

// IsARN tells whether spec is the ARN of a resource in AWS, and so neither a
// file nor a document nor a URL. Whether it is one of a secret, [Source.Get] says.
func IsARN(spec string) bool { return arn.IsARN(strings.TrimSpace(spec)) }

// Get is what the current version of the secret holds. ctx bounds how long that takes.
func (s *Source) Get(ctx context.Context, secretARN string) (string, error) {
	secretARN = strings.TrimSpace(secretARN)
	name, err := arn.Parse(secretARN)
	if err != nil || name.Service != "secretsmanager" || name.Region == "" || !strings.HasPrefix(name.Resource, "secret:") {
		return "", fmt.Errorf("%s is not the ARN of a secret, which looks like arn:aws:secretsmanager:eu-central-1:123456789012:secret:NAME-AbCdEf", redact.Place(secretARN))
	}
	client, err := s.client(ctx, name.Region)
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", secretARN, err)
	}
	out, err := client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &secretARN})
	if err != nil {
		return "", fmt.Errorf("secret %s: %w", secretARN, plain(err))
	}
	text := aws.ToString(out.SecretString)
	if out.SecretString == nil {
		text = string(out.SecretBinary)
	}
	if strings.TrimSpace(text) == "" {
		return "", fmt.Errorf("secret %s: it is empty; put the value in with aws secretsmanager put-secret-value", secretARN)
	}
	return text, nil
}

// plain is err without what differs from one attempt to the next, such as an id
// of the request: one problem reads the same however often it is met.
func plain(err error) error {
	var answer smithy.APIError
	var network *net.OpError
	switch {
	case errors.As(err, &answer):
		return fmt.Errorf("%s: %s", answer.ErrorCode(), answer.ErrorMessage())
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("AWS Secrets Manager did not answer in time")
	case errors.As(err, &network):
		return fmt.Errorf("AWS Secrets Manager cannot be reached: %s: %w", network.Op, network.Err)
	}
	return err
}

// Resolve is spec itself, or what the secret holds when spec is an ARN. An empty
// spec is an error.
func (s *Source) Resolve(ctx context.Context, spec string) (string, error) {
	if strings.TrimSpace(spec) == "" {
		return "", errors.New("nothing is given; it takes the value itself, or the ARN of a secret that holds it")
	}
	if !IsARN(spec) {
		return spec, nil
	}
	text, err := s.Get(ctx, spec)
	return strings.TrimSpace(text), err
}

// patience is one more attempt after a short pause. The SDK's own would go on until
// the caller's time is up, and the error then says that, instead of what was wrong.
func patience() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 2
		o.MaxBackoff = 200 * time.Millisecond
	})
}

// client keeps one client a region: it holds the connection and the credentials.
func (s *Source) client(ctx context.Context, region string) (*secretsmanager.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.clients[region]; ok {
		return c, nil
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region), config.WithRetryer(patience))
	if err != nil {
		return nil, fmt.Errorf("the AWS SDK's configuration: %w", err)
	}
	if s.clients == nil {
		s.clients = map[string]*secretsmanager.Client{}
	}
	c := secretsmanager.NewFromConfig(cfg)
	s.clients[region] = c
	return c, nil
}
