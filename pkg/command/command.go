package command

import (
	"time"
)

// Status is a state of a command, or of one peer.
type Status string

// The states (protocol §8). A command is waiting or active, and ends as one of the
// others but for the first three of a peer. A peer ends as succeeded, failed, rejected
// or timed_out.
const (
	Waiting    Status = "waiting"
	Active     Status = "active"
	Sent       Status = "sent"
	Received   Status = "received"
	Running    Status = "running"
	Succeeded  Status = "succeeded"
	Failed     Status = "failed"
	Rejected   Status = "rejected"
	TimedOut   Status = "timed_out"
	Mixed      Status = "mixed"
	Expired    Status = "expired"
	Cancelled  Status = "cancelled"
	Superseded Status = "superseded"
	Aborted    Status = "aborted"
)

// OfCommands and OfPeers are the states that a command, and a peer, can be in.
var (
	OfCommands = []Status{Waiting, Active, Succeeded, Failed, Rejected, TimedOut, Mixed, Expired, Cancelled, Superseded, Aborted}
	OfPeers    = []Status{Sent, Received, Running, Succeeded, Failed, Rejected, TimedOut}
)

// Bounds and defaults (protocol §8).
const (
	MaxWait        = 25 * time.Second
	DefaultWait    = 10 * time.Second
	MaxTTL         = 7 * 24 * time.Hour
	MinTimeout     = time.Second
	MaxTimeout     = 24 * time.Hour
	DefaultTimeout = 30 * time.Second
	MaxExpect      = 100_000
	MaxPerMinute   = 100_000         // hand-overs of a rollout
	Grace          = 2 * time.Second // in which a command without a TTL may be claimed
	MaxKeyBytes    = 128             // of an idempotency or collapse key
	MaxQueued      = 100             // commands of a channel that wait for peers
	MaxAttempts    = 5               // hand-overs to one peer
	MaxShown       = 20              // answers that come with a command
	MaxPageBytes   = 512 << 10
	Kept           = 24 * time.Hour // an ended command, and its idempotency key
)

// Counts says how many peers are in each state. Missing is set at the end: how many
// of those that were expected were never handed the command.
type Counts struct {
	Sent      int `json:"sent"`
	Received  int `json:"received"`
	Running   int `json:"running"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
	Rejected  int `json:"rejected"`
	TimedOut  int `json:"timedOut"`
	Missing   int `json:"missing"`
}

// Command is a command as it is read.
type Command struct {
	ID        string
	Channel   string
	Data      []byte // one JSON value, byte for byte
	From      string
	Status    Status
	CreatedAt int64 // Unix milliseconds, as all times
	ExpiresAt int64 // 0: it has no TTL
	Expect    int
	Counts    Counts
	Answers   []PeerAnswer // the first MaxShown peers, by id
	More      bool         // there are others

	seq string // its place in the channel
}

// Ended says whether the command's status is final.
func (c *Command) Ended() bool { return c.Status != Waiting && c.Status != Active }

// PeerAnswer is what became of a command at one peer.
type PeerAnswer struct {
	Peer       string
	Status     Status
	Data       []byte // nil: there is none
	Attempt    int
	SentAt     int64
	AnsweredAt int64 // 0: it has not answered
	Late       *LateAnswer
}

// LateAnswer is an answer that came after the peer had timed out.
type LateAnswer struct {
	Status     Status
	Data       []byte
	AnsweredAt int64
}
