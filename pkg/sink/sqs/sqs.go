// Package sqs is the target of sinks that sends to a queue of Amazon SQS (protocol §10.4).
package sqs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"fleetwire/pkg/sink"
	"fleetwire/pkg/sink/internal/amazon"
)

const (
	service = "Amazon SQS"
	// A request has at most maxEntries messages (SendMessageBatch). It may have 1 MiB, but a queue
	// can be set to less: maxBytes is what each took before.
	maxEntries = 10
	maxBytes   = 256 << 10
	maxGroupID = 128
)

// Options set a Target up.
type Options struct {
	QueueURL    string
	Region      string // "": that of the URL, or of the process
	Endpoint    string // "": that of AWS
	CloudEvents bool
}

// Target sends to a queue.
type Target struct {
	client      *sqs.Client
	queueURL    string
	fifo        bool
	cloudEvents bool
}

// hostRegion finds the region in a queue's URL.
var hostRegion = regexp.MustCompile(`^sqs(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com|api\.aws)`)

// New checks the options. It does not connect.
func New(ctx context.Context, opt Options) (*Target, error) {
	u, err := url.Parse(opt.QueueURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("queueUrl: it is not the URL of a queue, such as https://sqs.eu-central-1.amazonaws.com/123456789012/fleet-events")
	}
	region := opt.Region
	if m := hostRegion.FindStringSubmatch(u.Host); m != nil && region == "" {
		region = m[1]
	}
	config, err := amazon.Config(ctx, region)
	if err != nil {
		return nil, err
	}
	client := sqs.NewFromConfig(config, func(o *sqs.Options) {
		if opt.Endpoint != "" {
			o.BaseEndpoint = aws.String(opt.Endpoint)
		}
	})
	return &Target{client: client, queueURL: opt.QueueURL, fifo: strings.HasSuffix(u.Path, ".fifo"), cloudEvents: opt.CloudEvents}, nil
}

// Deliver sends the batch in several requests (sink.Target), one after the other. To a FIFO queue,
// the message group is the channel.
func (t *Target) Deliver(ctx context.Context, batch []sink.Message) []error {
	d := delivery{target: t, entries: make([]types.SendMessageBatchRequestEntry, len(batch)), results: make([]error, len(batch)), stopped: map[string]error{}}
	waiting := make([]int, len(batch))
	for i := range batch {
		waiting[i] = i
		d.entries[i] = t.entry(i, &batch[i])
	}
	for len(waiting) > 0 && d.away == nil {
		var next []int
		if next, waiting = d.next(waiting); len(next) > 0 {
			d.send(ctx, next)
		}
	}
	for _, i := range waiting {
		d.results[i] = d.away
	}
	return d.results
}

// Close does nothing: idle connections end by themselves.
func (t *Target) Close() error { return nil }

// unsafe are the characters that JSON may have between quotes, and SQS refuses.
var unsafe = strings.NewReplacer("\uFFFE", `\ufffe`, "\uFFFF", `\uffff`)

func (t *Target) entry(i int, m *sink.Message) types.SendMessageBatchRequestEntry {
	e := types.SendMessageBatchRequestEntry{
		Id:          aws.String(strconv.Itoa(i)),
		MessageBody: aws.String(unsafe.Replace(string(sink.Payload(m, t.cloudEvents)))),
	}
	if t.fifo {
		e.MessageGroupId, e.MessageDeduplicationId = aws.String(groupID(m.Channel)), aws.String(m.ID)
	}
	return e
}

// groupID is the channel, or a digest of one that SQS would not take.
func groupID(channel string) string {
	taken := len(channel) <= maxGroupID && !strings.ContainsFunc(channel, func(r rune) bool { return r <= ' ' || r > '~' })
	if taken {
		return channel
	}
	sum := sha256.Sum256([]byte(channel))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// delivery is one Deliver.
type delivery struct {
	target  *Target
	entries []types.SendMessageBatchRequestEntry
	results []error
	stopped map[string]error // message groups of which no more is sent, and why
	away    error            // why nothing more is sent
}

// next takes the entries of the next request out of those that wait. To a FIFO queue it takes one
// of each message group: of a request, SQS may fail one entry and take a later one, which it
// would then drop as a duplicate when both come again in order.
func (d *delivery) next(waiting []int) (next, later []int) {
	taken := map[string]bool{}
	bytes, full := 0, false
	for _, i := range waiting {
		e := &d.entries[i]
		group := aws.ToString(e.MessageGroupId)
		if err := d.stopped[group]; d.target.fifo && err != nil {
			d.results[i] = err
			continue
		}
		size := len(*e.MessageBody)
		full = full || len(next) == maxEntries || len(next) > 0 && bytes+size > maxBytes
		if full || d.target.fifo && taken[group] {
			later = append(later, i)
			continue
		}
		taken[group] = true
		next, bytes = append(next, i), bytes+size
	}
	return next, later
}

// send sends entries, and notes their results.
func (d *delivery) send(ctx context.Context, some []int) {
	in := &sqs.SendMessageBatchInput{QueueUrl: &d.target.queueURL}
	for _, i := range some {
		in.Entries = append(in.Entries, d.entries[i])
	}
	out, err := d.target.client.SendMessageBatch(ctx, in)
	if err != nil {
		result := whole(err)
		for _, i := range some {
			d.results[i] = result
		}
		if !isRefused(result) {
			d.away = result
		}
		return
	}
	said := map[string]error{}
	for _, e := range out.Successful {
		said[aws.ToString(e.Id)] = nil
	}
	for _, e := range out.Failed {
		said[aws.ToString(e.Id)] = one(e)
	}
	for _, i := range some {
		result, ok := said[*d.entries[i].Id]
		if !ok {
			result = &sink.Unavailable{Reason: service + " did not say whether it has the message"}
		}
		if result != nil {
			d.note(i, result)
		}
	}
}

func (d *delivery) note(i int, result error) {
	d.results[i] = result
	if !isRefused(result) {
		d.stopped[aws.ToString(d.entries[i].MessageGroupId)] = result
	}
}

func isRefused(err error) bool {
	_, ok := errors.AsType[*sink.Refused](err)
	return ok
}

// whole is what the error of a request says of its messages. Those that one of them made SQS
// refuse are delivered again alone.
func whole(err error) error {
	var contents *types.InvalidMessageContents
	var size *types.BatchRequestTooLong
	if errors.As(err, &contents) || errors.As(err, &size) {
		return &sink.Refused{Reason: amazon.Unavailable(service, err).Reason}
	}
	return amazon.Unavailable(service, err)
}

// one is what is wrong with one message.
func one(failed types.BatchResultErrorEntry) error {
	code := aws.ToString(failed.Code)
	said := fmt.Sprintf("%s answered %s: %s", service, code, aws.ToString(failed.Message))
	if failed.SenderFault && !ofSink.MatchString(code) {
		return &sink.Refused{Reason: said}
	}
	return &sink.Unavailable{Reason: said}
}

// ofSink are the faults of a sender that are not those of its message.
var ofSink = regexp.MustCompile(`(?i)throttl|overlimit|accessdenied|kms|nonexistentqueue|queuedoesnotexist|security`)
