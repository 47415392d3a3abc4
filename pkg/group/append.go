package group

import (
	"slices"
	"strconv"
	"strings"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

// Waiting is a message that waits for groups, in a batch of an app.
type Waiting struct {
	Number  int // in the batch, from 1
	Groups  []*apps.Group
	Channel string
	Bytes   int64 // Bytes of it
}

// Bytes is what a message of so many bytes, with its channel, counts: in steps, so most do
// not differ.
func Bytes(n int) int64 { return int64(64 + n - n%64) }

// Batch is which groups the messages of a batch wait for.
type Batch struct {
	app      string
	groups   []*apps.Group
	messages []Waiting
}

// NewBatch returns the Batch of messages of an app, or nil if there are none.
func NewBatch(app string, messages []Waiting) *Batch {
	if len(messages) == 0 {
		return nil
	}
	b := &Batch{app: app, messages: messages}
	for _, m := range messages {
		for _, g := range m.Groups {
			if b.number(g) == 0 {
				b.groups = append(b.groups, g)
			}
		}
	}
	return b
}

// number is that of a group, from 1; 0: it is not there yet. Two messages may have come with
// two versions of a group.
func (b *Batch) number(g *apps.Group) int {
	for i, other := range b.groups {
		if other.Name == g.Name {
			return i + 1
		}
	}
	return 0
}

// Len is how many groups there are; of none too.
func (b *Batch) Len() int {
	if b == nil {
		return 0
	}
	return len(b.groups)
}

// AppendCounts appends the keys of the groups' counts, in the app's slot.
func (b *Batch) AppendCounts(keys []string, names rediskeys.Namespace) []string {
	for _, g := range b.groups {
		keys = append(keys, names.GroupBytes(b.app, g.Name))
	}
	return keys
}

// AppendArgs appends what the function read of append.lua takes. over is by how many bytes
// groups take too much, by name, as another step has found; nil: this step finds it.
func (b *Batch) AppendArgs(args []any, names rediskeys.Namespace, over map[string]int64) []any {
	for _, g := range b.groups {
		drops := 0
		if g.DropOldest {
			drops = 1
		}
		args = append(args, g.Name, g.MaxBytes, drops, g.MaxAge.Milliseconds(), names.GroupTopic(b.app, g.Name), over[g.Name])
	}
	targets, numbers := b.targets()
	args = append(args, len(targets))
	for _, t := range targets {
		in, _ := names.BucketOf(b.app, t.tag)
		args = append(args, string(in), t.bytes, t.groups)
	}
	args = append(args, len(numbers))
	for _, n := range numbers {
		args = append(args, n)
	}
	return args
}

// target is what messages have in common that wait in the same bucket for the same groups.
type target struct {
	tag    string // of the bucket
	bytes  int64  // of each message
	groups string // their numbers
}

// targets returns the targets of the messages, and the number of each message's, from 1. 0: the
// message waits for no group. Behind the last one that waits there is none.
func (b *Batch) targets() (all []target, numbers []int) {
	known := make(map[target]int, len(b.messages))
	var groups []*apps.Group // of the message before
	text := ""
	for _, m := range b.messages {
		if !slices.Equal(groups, m.Groups) {
			groups, text = m.Groups, b.numbers(m.Groups)
		}
		t := target{rediskeys.TagOf(m.Channel), m.Bytes, text}
		n := known[t]
		if n == 0 {
			all = append(all, t)
			n = len(all)
			known[t] = n
		}
		for len(numbers) < m.Number-1 {
			numbers = append(numbers, 0)
		}
		numbers = append(numbers, n)
	}
	return all, numbers
}

// numbers are those of groups, separated by spaces.
func (b *Batch) numbers(groups []*apps.Group) string {
	all := make([]string, len(groups))
	for i, g := range groups {
		all[i] = strconv.Itoa(b.number(g))
	}
	return strings.Join(all, " ")
}

// Name is that of a group, by its number; "": there is none.
func (b *Batch) Name(number int) string {
	if b == nil || number < 1 || number > len(b.groups) {
		return ""
	}
	return b.groups[number-1].Name
}

// Freed is bytes that a group takes no more.
type Freed struct {
	App, Group, Tag string
	Bytes           int64
	// Why messages were dropped, and how many; "": none was.
	Why      Drop
	Messages int64
}

// TakeOff takes bytes off the counts of groups.
func TakeOff(names rediskeys.Namespace, all ...Freed) (calls []*redisconn.Call) {
	of := map[string]*redisconn.Call{}
	for _, f := range all {
		if f.Bytes == 0 && f.Messages == 0 {
			continue
		}
		key := names.GroupBytes(f.App, f.Group)
		if of[key] == nil {
			of[key] = &redisconn.Call{Script: takeOffScript, Keys: []string{key}}
			calls = append(calls, of[key])
		}
		of[key].Args = append(of[key].Args, f.Tag, f.Bytes, string(f.Why), f.Messages)
	}
	return calls
}
