// Package kinesis is the target of sinks that puts records to a stream of Amazon Kinesis Data
// Streams (protocol §10.4).
package kinesis

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"fleetwire/pkg/sink"
	"fleetwire/pkg/sink/internal/amazon"
)

const (
	service = "Amazon Kinesis"
	// A request has at most maxRecords (PutRecords), and maxBytes with their keys, in the least
	// that any stream takes.
	maxRecords = 500
	maxBytes   = 1 << 20
	maxKey     = 256 // characters of a partition key
	// Records that single shards did not take are put again, tries times in all. Then the sink
	// backs off.
	tries      = 4
	firstPause = 100 * time.Millisecond
)

// Options set a Target up.
type Options struct {
	Stream      string // name or ARN
	Region      string // "": that of the ARN, or of the process
	Endpoint    string // "": that of AWS
	CloudEvents bool
}

// Target puts to a stream.
type Target struct {
	client      *kinesis.Client
	name, arn   *string // one of them is nil
	cloudEvents bool
	firstPause  time.Duration // tests set it
}

// New checks the options. It does not connect.
func New(ctx context.Context, opt Options) (*Target, error) {
	t := &Target{cloudEvents: opt.CloudEvents, firstPause: firstPause}
	region := opt.Region
	switch {
	case opt.Stream == "":
		return nil, errors.New("stream: it is empty; give the name or the ARN of a stream")
	case arn.IsARN(opt.Stream):
		name, _ := arn.Parse(opt.Stream)
		if name.Service != "kinesis" || !strings.HasPrefix(name.Resource, "stream/") {
			return nil, fmt.Errorf("stream: %q is not the ARN of a stream, which looks like arn:aws:kinesis:eu-central-1:123456789012:stream/NAME", opt.Stream)
		}
		t.arn = aws.String(opt.Stream)
		if region == "" {
			region = name.Region
		}
	default:
		t.name = aws.String(opt.Stream)
	}
	config, err := amazon.Config(ctx, region)
	if err != nil {
		return nil, err
	}
	t.client = kinesis.NewFromConfig(config, func(o *kinesis.Options) {
		if opt.Endpoint != "" {
			o.BaseEndpoint = aws.String(opt.Endpoint)
		}
	})
	return t, nil
}

// Deliver puts a record for each message (sink.Target). The partition key is the channel, so that
// the messages of a channel are in one shard.
func (t *Target) Deliver(ctx context.Context, batch []sink.Message) []error {
	results := make([]error, len(batch))
	records := make([]types.PutRecordsRequestEntry, len(batch))
	waiting := make([]int, len(batch))
	for i := range batch {
		records[i] = types.PutRecordsRequestEntry{PartitionKey: aws.String(partitionKey(batch[i].Channel)), Data: sink.Payload(&batch[i], t.cloudEvents)}
		waiting[i] = i
	}
	for pause, try := t.firstPause, 1; ; pause, try = 2*pause, try+1 {
		if err := t.put(ctx, records, waiting, results); err != nil {
			for _, i := range waiting {
				results[i] = err
			}
			return results
		}
		// A record that was not taken comes again with the later ones of its channel, taken or not,
		// so that the last time they are in order.
		sink.KeepOrder(batch, results)
		waiting = failed(results)
		if len(waiting) == 0 || try == tries || !sleep(ctx, pause) {
			return results
		}
	}
}

// partitionKey is the channel, or a digest of one that is too long.
func partitionKey(channel string) string {
	if utf8.RuneCountInString(channel) <= maxKey {
		return channel
	}
	sum := sha256.Sum256([]byte(channel))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// put puts some of the records, and notes the result of each. Its error is that of a whole request.
func (t *Target) put(ctx context.Context, records []types.PutRecordsRequestEntry, some []int, results []error) error {
	for len(some) > 0 {
		n := fitting(records, some)
		in := &kinesis.PutRecordsInput{StreamName: t.name, StreamARN: t.arn}
		for _, i := range some[:n] {
			in.Records = append(in.Records, records[i])
		}
		out, err := t.client.PutRecords(ctx, in)
		switch {
		case err != nil:
			return amazon.Unavailable(service, err)
		case len(out.Records) != n:
			return &sink.Unavailable{Reason: fmt.Sprintf("%s answered for %d records of %d", service, len(out.Records), n)}
		}
		for j, i := range some[:n] {
			results[i] = nil
			if code := aws.ToString(out.Records[j].ErrorCode); code != "" {
				results[i] = &sink.Unavailable{Reason: fmt.Sprintf("%s answered %s: %s", service, code, aws.ToString(out.Records[j].ErrorMessage))}
			}
		}
		some = some[n:]
	}
	return nil
}

// fitting is how many of some records go into one request, at least one.
func fitting(records []types.PutRecordsRequestEntry, some []int) int {
	bytes := 0
	for n, i := range some {
		bytes += len(records[i].Data) + len(*records[i].PartitionKey)
		if n == maxRecords || n > 0 && bytes > maxBytes {
			return n
		}
	}
	return len(some)
}

func failed(results []error) (some []int) {
	for i, err := range results {
		if err != nil {
			some = append(some, i)
		}
	}
	return some
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Close does nothing: idle connections end by themselves.
func (t *Target) Close() error { return nil }
