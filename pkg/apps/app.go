package apps

import (
	"log/slog"
	"slices"
	"strings"
	"time"

	"fleetwire/clients/go/channel"
)

// App is a tenant (protocol §1).
type App struct {
	ID        string // 1–64 of [A-Za-z0-9_-]: it becomes part of Redis keys
	Suspended bool   // connections close with 4012, REST answers account_suspended
	Plan      Plan
	Limits    Limits
	Peers     PeerSettings
	Keys      []*Key
	// CommandBytes bounds the ended commands that are kept (protocol §8), at least
	// MinCommandBytes.
	CommandBytes int64
	// History are the channels that remember. HistoryBytes bounds what all of them
	// remember, at least MinHistoryBytes.
	History      []HistoryRule
	HistoryBytes int64
	Groups       []*Group // at most 16
}

// MinCommandBytes and DefaultCommandBytes are the least App.CommandBytes, and that of
// an app whose document names none.
const (
	MinCommandBytes     = 1 << 20
	DefaultCommandBytes = 64 << 20
)

// Plan caps what an app may use (protocol §6). Both caps are ≥ 0.
type Plan struct {
	Name                     string
	MaxConcurrentConnections int64
	MaxMessagesPerPeriod     int64 // a period is a calendar month, UTC
	OveragesAllowed          bool  // the plan permits going over
	OveragesEnabled          bool  // the app has switched it on
}

// Overages tells whether the app may go over its caps: both switches are on.
func (p Plan) Overages() bool { return p.OveragesAllowed && p.OveragesEnabled }

// DefaultPlan is the plan of an app whose document names none.
func DefaultPlan() Plan {
	return Plan{Name: "default", MaxConcurrentConnections: 1000, MaxMessagesPerPeriod: 5_000_000}
}

// Limits are an app's rates, and how long its tokens may live (protocol §6, §3), each
// from 1 to 1,000,000,000.
type Limits struct {
	ConnectionMessagesPerSec int // frames a second, each connection
	ConnectionMessagesBurst  int // frames at once, each connection
	ConnectsPerAddressPerMin int // connects in 60 s, each address, all nodes together
	RESTPerSec               int // REST calls a second, each key
	RESTBurst                int // REST calls at once, each key
	MaxTokenLifeSec          int // seconds from a token's iat to its exp; 0: any, and iat may be missing
}

// DefaultLimits are the limits of an app whose document names none.
func DefaultLimits() Limits {
	return Limits{
		ConnectionMessagesPerSec: 100,
		ConnectionMessagesBurst:  200,
		ConnectsPerAddressPerMin: 60,
		RESTPerSec:               100,
		RESTBurst:                200,
	}
}

// PeerSettings are for how long an app remembers its peers, and when they are offline
// (protocol §5, GET /v1/peers).
type PeerSettings struct {
	Remember      time.Duration // after a peer was last seen; 0: not
	MaxRemembered int64         // peers, ≥ 1: beyond it the longest unseen are forgotten
	Grace         time.Duration // that a peer has to be back before it is offline
}

// DefaultPeerSettings are the settings of an app whose document names none.
func DefaultPeerSettings() PeerSettings {
	return PeerSettings{Remember: 30 * 24 * time.Hour, MaxRemembered: 1_000_000, Grace: 5 * time.Second}
}

// publishablePrefix begins the id of every publishable key and of no other.
const publishablePrefix = "pk_"

// Key is a credential of an app and what it may do at most (protocol §1).
type Key struct {
	ID       string             // 1–128 bytes of printable ASCII without space and ':'
	Secret   string             `json:"-"` // the HMAC key; "" for a publishable key
	Patterns []*channel.Pattern // at most 100
	Actions  Actions
	Role     Role // of a secret key
	// AllowedOrigins are the web pages that may connect with the key or its
	// tokens, at most 100; none: all may.
	AllowedOrigins []Origin
	App            *App `json:"-"`
}

// Publishable tells whether the key's id alone is its credential.
func (k *Key) Publishable() bool { return strings.HasPrefix(k.ID, publishablePrefix) }

// Signs tells whether tokens that the key has signed are good: a publishable key has no
// secret, and a viewer's key lets nothing connect.
func (k *Key) Signs() bool { return !k.Publishable() && k.Role != RoleViewer }

// Credential is what a request shows of a secret key (protocol §1). It is a secret.
func (k *Key) Credential() string {
	if strings.Contains(k.Secret, ":") {
		return k.ID + ":" + k.Secret // a secret with a ':' has this spelling only
	}
	return k.ID + "_secret_" + k.Secret
}

// Equal tells whether two documents say the same of a key and of its app, but for
// what other keys the app has.
func (k *Key) Equal(other *Key) bool {
	samePattern := func(a, b *channel.Pattern) bool { return a.String() == b.String() }
	return k.ID == other.ID && k.Secret == other.Secret && k.Actions == other.Actions && k.Role == other.Role &&
		slices.EqualFunc(k.Patterns, other.Patterns, samePattern) && slices.Equal(k.AllowedOrigins, other.AllowedOrigins) &&
		k.App.ID == other.App.ID && k.App.Suspended == other.App.Suspended &&
		k.App.Plan == other.App.Plan && k.App.Limits == other.App.Limits && k.App.Peers == other.App.Peers && k.App.sameHistory(other.App) && k.App.sameGroups(other.App)
}

// String is the key's id: printing a key must not print its secret. The
// receivers here are values, so that it holds for a Key and a *Key alike.
func (k Key) String() string { return k.ID }

// GoString keeps the secret out of %#v.
func (k Key) GoString() string { return "apps.Key(" + k.ID + ")" }

// LogValue keeps the secret out of structured logs.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.ID) }
