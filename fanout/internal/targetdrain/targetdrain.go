// Package targetdrain lets a node learn from its AWS target group that it is
// draining.
//
// Amazon ECS takes a task out of its target group, waits the whole deregistration
// delay and only then sends SIGTERM; when the delay ends the load balancer cuts
// what is still connected. A node that waited for SIGTERM would have no time left
// to close its connections one by one.
package targetdrain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

const (
	// Interval is how often the target group is asked, and so how late a node may
	// learn that it is draining.
	Interval = 15 * time.Second
	// asking bounds one question, with the SDK's retries.
	asking = 10 * time.Second
)

// Variables that this package reads.
const (
	// GroupVariable holds the target group's ARN. Without it nothing is watched.
	GroupVariable = "FLEETWIRE_TARGET_GROUP_ARN"
	// metadataVariable is set by ECS: where a container learns about itself.
	metadataVariable = "ECS_CONTAINER_METADATA_URI_V4"
)

// Watch is a target group and this node as one of its targets.
type Watch struct {
	client *elb.Client
	input  *elb.DescribeTargetHealthInput
	log    *slog.Logger
	after  func(time.Duration) <-chan time.Time
}

// Context returns a context that ends with parent, or when the target group named
// by FLEETWIRE_TARGET_GROUP_ARN begins to drain this node, which serves at
// address (host:port). Where the variable is not set, it is parent.
func Context(parent context.Context, address string, log *slog.Logger) (context.Context, error) {
	group := os.Getenv(GroupVariable)
	if group == "" {
		return parent, nil
	}
	w, err := New(parent, group, address, log)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", GroupVariable, err)
	}
	ctx, cancel := context.WithCancel(parent)
	go func() {
		defer cancel()
		w.Wait(ctx)
	}()
	return ctx, nil
}

// New finds out which target this node is: its address within the task's network,
// as ECS says, and the port of address.
func New(ctx context.Context, group, address string, log *slog.Logger) (*Watch, error) {
	name, err := arn.Parse(group)
	if err != nil || name.Service != "elasticloadbalancing" || name.Region == "" {
		return nil, fmt.Errorf("%q is not the ARN of a target group, which looks like arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/NAME/0123456789abcdef", group)
	}
	port, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("the node's own address: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	own, err := ownAddress(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(name.Region))
	if err != nil {
		return nil, fmt.Errorf("the AWS SDK's configuration: %w", err)
	}
	return &Watch{
		client: elb.NewFromConfig(cfg),
		input: &elb.DescribeTargetHealthInput{
			TargetGroupArn: &group,
			Targets:        []types.TargetDescription{{Id: aws.String(own.String()), Port: aws.Int32(int32(port.Port()))}},
		},
		log:   log,
		after: time.After,
	}, nil
}

// ownAddress asks ECS for the address of the task (container metadata endpoint,
// version 4; network mode awsvpc, as on Fargate).
func ownAddress(ctx context.Context) (netip.Addr, error) {
	endpoint := os.Getenv(metadataVariable)
	if endpoint == "" {
		return netip.Addr{}, fmt.Errorf("%s is not set, so this is no ECS task; leave the target group out elsewhere", metadataVariable)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s: %w", metadataVariable, err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("the container metadata: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return netip.Addr{}, fmt.Errorf("the container metadata: status %s", response.Status)
	}
	var container struct {
		Networks []struct{ IPv4Addresses []string }
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&container); err != nil {
		return netip.Addr{}, fmt.Errorf("the container metadata: %w", err)
	}
	for _, network := range container.Networks {
		for _, text := range network.IPv4Addresses {
			if a, err := netip.ParseAddr(text); err == nil {
				return a, nil
			}
		}
	}
	return netip.Addr{}, errors.New("the container metadata names no IPv4 address; the task's network mode must be awsvpc")
}

// Wait returns true once the target drains, and false when ctx ends before. While
// the target group cannot be asked it logs why, and the node goes on: on SIGTERM
// it drains in any case.
func (w *Watch) Wait(ctx context.Context) bool {
	registered := false
	for {
		health, err := w.ask(ctx)
		switch {
		case ctx.Err() != nil:
			return false
		case err != nil:
			w.log.Warn("the target group does not say whether this node is draining; asking again", "in", Interval, "err", err)
		case leaving(health, registered):
			w.log.Info("the target group is draining this node", "state", health.State)
			return true
		default:
			registered = registered || !unknown(health)
		}
		select {
		case <-ctx.Done():
			return false
		case <-w.after(Interval):
		}
	}
}

// leaving: a target that drains, or that is gone although it was there, so that
// its draining fell between two questions. Before ECS has registered a new task
// it is not there either.
func leaving(h *types.TargetHealth, registered bool) bool {
	return h.State == types.TargetHealthStateEnumDraining || registered && unknown(h)
}

// unknown says that the target is not in the group. Another reason for "unused" is
// that no rule of the balancer leads to the group: that must not end all nodes.
func unknown(h *types.TargetHealth) bool {
	return h.State == types.TargetHealthStateEnumUnused && h.Reason == types.TargetHealthReasonEnumNotRegistered
}

func (w *Watch) ask(ctx context.Context) (*types.TargetHealth, error) {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	out, err := w.client.DescribeTargetHealth(ctx, w.input)
	if err != nil {
		return nil, err
	}
	if len(out.TargetHealthDescriptions) != 1 || out.TargetHealthDescriptions[0].TargetHealth == nil {
		return nil, fmt.Errorf("the answer is about %d targets, and 1 was asked for", len(out.TargetHealthDescriptions))
	}
	return out.TargetHealthDescriptions[0].TargetHealth, nil
}
