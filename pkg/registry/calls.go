package registry

import (
	"crypto/rand"
	_ "embed"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/deadline"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
)

var (
	//go:embed state.lua
	stateLua string
	//go:embed record.lua
	recordLua string
	//go:embed connected.lua
	connectedLua string
	//go:embed disconnected.lua
	disconnectedLua string
	//go:embed reap.lua
	reapLua string
	//go:embed offline.lua
	offlineLua string
	//go:embed forget.lua
	forgetLua string
	//go:embed oldest.lua
	oldestLua string
	//go:embed drop.lua
	dropLua string
	//go:embed wills.lua
	willsLua string
	//go:embed will.lua
	willLua string
	//go:embed due.lua
	dueLua string

	stateScript        = script(stateLua)
	connectedScript    = script(connectedLua)
	disconnectedScript = script(willsLua + disconnectedLua)
	reapScript         = script(willsLua + reapLua)
	offlineScript      = script(willsLua + offlineLua)
	forgetScript       = script(willsLua + forgetLua)
	oldestScript       = script(oldestLua)
	dropScript         = script(willsLua + dropLua)
	willScript         = script(willsLua + willLua)
	dueScript          = script(willsLua + dueLua)
)

func script(lua string) *redisconn.Script {
	return redisconn.NewScript(rediskeys.WildcardsLua + deadline.Lua + recordLua + lua)
}

// Lease is how long what a silent node holds stays: its members and its connections.
// The peers of a node that died leave within 10 s (protocol §4.3): another node asks
// for leases that have run out with each renewal, every third of it.
const Lease = 6 * time.Second

// goingAwayGrace is what a drained fleet has beyond the app's grace: it comes back
// slowly, so as not to come all at once.
const goingAwayGrace = 10 * time.Second

// grace is how long a peer has to be back, after an end with this code.
func grace(s apps.PeerSettings, code int) time.Duration {
	if code == int(protocol.CloseGoingAway) {
		return s.Grace + goingAwayGrace
	}
	return s.Grace
}

// holder names a connection in a record.
func holder(identity, node string, connection uint64) string {
	return identity + ":" + strconv.FormatUint(connection, 36) + ":" + node
}

// formerHolders names a connection as it may be in a record still, separated by commas.
func formerHolders(formers []string, node string, connection uint64) string {
	all := make([]string, len(formers))
	for i, identity := range formers {
		all[i] = holder(identity, node, connection)
	}
	return strings.Join(all, ",")
}

// publishArgs are the arguments of scripts that publish: what the topics of a bucket's channels
// begin with, and the peer's.
func publishArgs(keys rediskeys.Namespace, b rediskeys.Bucket, peer string) (topics, name string) {
	return keys.TopicsIn(b, rediskeys.Messages), channel.ConnectivityName(peer)
}

// random is n bytes that name a message.
func random(n int) string {
	id := make([]byte, n)
	_, _ = rand.Read(id) // never fails (crypto/rand)
	return string(id)
}

func connectedCall(keys rediskeys.Namespace, b rediskeys.Bucket, c *Connected, node, identity string, formers []string) *redisconn.Call {
	topics, name := publishArgs(keys, b, c.Peer)
	return &redisconn.Call{
		Script: connectedScript,
		Keys:   []string{b.Peers(), b.PeerIndex(), b.Due(string(deadline.Grace)), b.PeersOnline()},
		Args:   []any{c.Peer, holder(identity, node, c.Connection), formerHolders(formers, node, c.Connection), c.Metadata, c.Epoch.Load(), topics, name, random(16)},
	}
}

func disconnectedCall(b rediskeys.Bucket, d *Disconnected, node, identity string, formers []string) *redisconn.Call {
	return &redisconn.Call{
		Script: disconnectedScript,
		Keys:   []string{b.Peers(), b.Due(string(deadline.Grace)), b.Wills(), b.Due(string(deadline.Will))},
		Args: []any{d.Peer, holder(identity, node, d.Connection), formerHolders(formers, node, d.Connection), d.Code, string(d.Reason),
			grace(d.App.Peers, d.Code).Milliseconds(), d.will()},
	}
}

func stateCall(keys rediskeys.Namespace, b rediskeys.Bucket, q *stateQuery, process uint64) *redisconn.Call {
	topics, name := publishArgs(keys, b, q.peer)
	id := binary.BigEndian.AppendUint64(nil, process)
	return &redisconn.Call{
		Script: stateScript,
		Keys:   []string{b.Peers()},
		Args: []any{q.peer, topics, name, append(id, random(8)...), binary.BigEndian.AppendUint64(nil, q.connection),
			q.app.Peers.Remember.Milliseconds()},
	}
}
