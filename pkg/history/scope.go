package history

import (
	"crypto/rand"
	_ "embed"
	"fmt"
	"sync"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/rediskeys"
)

//go:embed channel.lua
var channelLua string

// Lua has the functions that append to what a channel remembers, and read it, for the
// script of pkg/publish/send.
var Lua = fmt.Sprintf("local LAST, LIST, INDEX, BYTES, DUE, IDS = %q, %q, %q, %q, %q, %q\n",
	none.Last(""), none.History(""), none.HistoryIndex(), none.HistoryBytes(), none.Due(string(deadline.History)), none.IdempotencyIndex()) +
	fmt.Sprintf("local CHANNEL_BYTES, POSITION_LIFE, IDS_LIFE, MOST_IDS = %d, %d, %d, %d\n",
		positionBytes, positionLife.Milliseconds(), idempotencyLife.Milliseconds(), maxIdempotencyKeys/rediskeys.BucketsPerApp) + channelLua

const (
	// positionBytes is what a channel counts that has no messages.
	positionBytes = 200
	// positionLife is how long a position outlives its messages (protocol §9).
	positionLife = 30 * 24 * time.Hour

	maxIdempotencyKeys = 100_000 // of an app
	idempotencyLife    = 10 * time.Minute
)

// generationLife is how long a process goes by what it knows of Redis's generation.
const generationLife = time.Second

// Generation is what a process knows of the generation of its Redis. Its zero value knows
// nothing.
type Generation struct {
	mu    sync.Mutex
	value string
	asked time.Time
}

// known is "" if a script has to ask.
func (g *Generation) known() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if time.Since(g.asked) >= generationLife {
		return ""
	}
	return g.value
}

// Learn takes what a script has asked for, at an instant before it ran.
func (g *Generation) Learn(value string, before time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if before.After(g.asked) {
		g.value, g.asked = value, before
	}
}

// Forget has the next script ask: there may be another Redis behind a new connection.
func (g *Generation) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.value, g.asked = "", time.Time{}
}

// AppendSetup appends the arguments of the function setup of channel.lua.
func (g *Generation) AppendSetup(args []any, keys rediskeys.Namespace, app *apps.App) []any {
	return append(args, g.known(), randomText(), app.HistoryBytes/rediskeys.BucketsPerApp, len(keys.Bucket(app.ID, "")))
}

// none makes the parts of keys behind the bucket.
const none rediskeys.Bucket = ""

// randomText is the random part of an epoch.
func randomText() string {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	for i := range b {
		b[i] = letters[int(b[i])%62]
	}
	return string(b[:])
}
