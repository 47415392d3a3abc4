package history

import (
	"crypto/rand"
	_ "embed"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
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

// maxGenerations bounds of how many buckets a process knows one: of 64 apps.
const maxGenerations = 64 * rediskeys.BucketsPerApp

// Generation is what a process knows of the generation of its Redis. Its zero value knows
// nothing. On a Redis Cluster each master has its own. A bucket can move from one to another
// at any time, so it is known by bucket there.
type Generation struct {
	mu sync.Mutex
	of map[rediskeys.Bucket]generation // "": of the one server
}

type generation struct {
	value string
	asked time.Time
}

// known is "" if a script has to ask.
func (g *Generation) known(at rediskeys.Bucket) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if of := g.of[at]; time.Since(of.asked) < generationLife {
		return of.value
	}
	return ""
}

// Learn takes what a script has asked for, at an instant before it ran. It was told at the
// same place as setup was.
func (g *Generation) Learn(at rediskeys.Bucket, value string, before time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.of) > maxGenerations {
		g.of = nil
	}
	if g.of == nil {
		g.of = map[rediskeys.Bucket]generation{}
	}
	if before.After(g.of[at].asked) {
		g.of[at] = generation{value, before}
	}
}

// Forget has the next scripts ask: there may be another Redis behind a new connection.
func (g *Generation) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.of = nil
}

// AppendSetup appends the arguments of the function setup of channel.lua, for a script that
// runs at a place: PlaceOf a bucket.
func (g *Generation) AppendSetup(args []any, keys rediskeys.Namespace, app *apps.App, at rediskeys.Bucket) []any {
	return append(args, g.known(at), randomText(), app.HistoryBytes/rediskeys.BucketsPerApp, len(keys.Bucket(app.ID, "")))
}

// PlaceOf is where a script of a bucket runs: on one server all are at the same place.
func PlaceOf(rdb redis.UniversalClient, b rediskeys.Bucket) rediskeys.Bucket {
	if redisconn.IsCluster(rdb) {
		return b
	}
	return ""
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
