// Package amazon has what the targets of sinks on AWS share.
package amazon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go"

	"fleetwire/pkg/sink"
)

// Config is the SDK's for a region, with the credentials of the process: of the ECS task, or from
// its environment.
func Config(ctx context.Context, region string) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{config.WithRetryer(patience)}
	if region != "" {
		options = append(options, config.WithRegion(region))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return c, fmt.Errorf("the AWS SDK's configuration: %w", err)
	}
	if c.Region == "" {
		return c, errors.New("region: none is known; give one, such as eu-central-1, or set AWS_REGION")
	}
	return c, nil
}

// patience is two more attempts after short pauses. For longer the sink backs off, on all nodes.
func patience() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = 3
		o.MaxBackoff = 500 * time.Millisecond
	})
}

// Unavailable reports that a service did not take a whole request, in the same words each time:
// without the id of the request.
func Unavailable(service string, err error) *sink.Unavailable {
	var network *net.OpError
	var name *net.DNSError
	text := err.Error()
	answer, ok := errors.AsType[smithy.APIError](err)
	switch {
	case ok:
		text = fmt.Sprintf("%s answered %s: %s", service, answer.ErrorCode(), answer.ErrorMessage())
	case errors.Is(err, context.DeadlineExceeded):
		text = service + " did not answer in time"
	case errors.Is(err, context.Canceled):
		text = "the delivery ended before " + service + " had answered"
	case errors.As(err, &name):
		text = fmt.Sprintf("the name of %s cannot be resolved: %s", service, name.Err)
	case errors.As(err, &network):
		text = fmt.Sprintf("%s cannot be reached: %s: %v", service, network.Op, network.Err)
	default:
		text = service + " cannot be asked: " + text
	}
	return &sink.Unavailable{Reason: text}
}
