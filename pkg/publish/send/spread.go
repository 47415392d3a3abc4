package send

import (
	_ "embed"
	"time"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// A script for each bucket costs Redis several times as much as the few messages that it
// publishes. So messages that only have to be published go out with one script for each
// master. Whether a bucket has wildcard subscribers is read by the script: a node that hears
// a channel by name and by wildcard must get both copies of a message one after the other. If
// the bucket's slot is not there, nothing of it was published, and it goes out by itself.

//go:embed spread.lua
var spreadLua string

var spreadScript = redisconn.NewScript(inTimeLua + spreadLua)

const (
	// elsewhere is spread.lua's answer in place of a number of nodes.
	elsewhere = -5
	// firstBucket is the place of the first bucket's key in the arguments of spread.lua, and
	// bucketArgs how many there are for a bucket, but for its messages.
	firstBucket = 2
	bucketArgs  = 3
)

// spread is deliveries of an app at one master, which share a call.
type spread struct {
	parts []*delivery
	call  *redisconn.Call
}

// spreads puts deliveries together that can share a call. alone are the others.
func spreads(all []*delivery) (shared []*spread, alone []*delivery) {
	type place struct {
		of *sending
		at *clock
	}
	at := map[place]*spread{}
	for _, d := range all {
		if d.special || d.tried {
			alone = append(alone, d)
			continue
		}
		p := place{d.of, d.clock}
		if at[p] == nil {
			at[p] = &spread{}
			shared = append(shared, at[p])
		}
		at[p].parts = append(at[p].parts, d)
	}
	return shared, alone
}

// prepareSpread makes the call.
func (sender *Sender) prepareSpread(s *spread, deadline time.Time) {
	at := s.parts[0].clock
	args := append(make([]any, 0, firstBucket+bucketArgs*len(s.parts)+2*s.size()), at.deadline(deadline), at.node)
	for _, d := range s.parts {
		d.tried = true
		args = append(args, d.bucket.Wildcards(rediskeys.Messages), sender.keys.AllTopic(d.bucket, rediskeys.Messages), len(d.messages))
		for _, o := range d.messages {
			args = append(args, o.topic, o.payload)
		}
	}
	s.call = &redisconn.Call{Script: spreadScript, Args: args, Place: firstBucket}
}

// size is how many messages it has.
func (s *spread) size() (n int) {
	for _, d := range s.parts {
		n += len(d.messages)
	}
	return n
}

// read gives each part its share of the reply.
func (s *spread) read() {
	reply, err := s.call.Reply.Slice()
	ran := err == nil && len(reply) >= 2 && number(reply[0]) == batchRan
	var outcomes []any // of all messages: to how many nodes they went, at least
	if ran {
		outcomes = readSpread(reply[2:], s.size())
	}
	for _, d := range s.parts {
		d.reply, d.err = reply, err
		if !ran {
			continue
		}
		mine := outcomes[:len(d.messages)]
		outcomes = outcomes[len(d.messages):]
		if number(mine[0]) == elsewhere { // as all messages of a bucket
			d.reply = []any{int64(batchElsewhere), reply[1]}
		} else {
			d.reply = append([]any{reply[0], reply[1]}, mine...)
		}
	}
}

// readSpread reads the outcomes of n messages, of which spread.lua returns those that went to
// no node.
func readSpread(exceptions []any, n int) []any {
	outcomes := make([]any, n)
	for i := range outcomes {
		outcomes[i] = int64(1)
	}
	for i := 0; i+1 < len(exceptions); i += 2 {
		if at := number(exceptions[i]); at >= 1 && int(at) <= n {
			outcomes[at-1] = exceptions[i+1]
		}
	}
	return outcomes
}
