package plan

import (
	"slices"
	"time"
)

// A Form is a way in which Redis is there.
type Form string

// The forms, as they are called in the table and with -forms.
const (
	Server   Form = "server"   // one redis-server
	Replica  Form = "replica"  // a primary and its replica, behind an address that is led to either
	Sentinel Form = "sentinel" // a primary and its replica, found through Sentinel
	Cluster  Form = "cluster"  // three masters with a replica each
	Clock    Form = "clock"    // one redis-server, whose clock can be set
)

// Forms are all of them, in the order in which they are tried.
var Forms = []Form{Server, Replica, Sentinel, Cluster, Clock}

// Where says whom a fault may cost something.
type Where int

// A fault costs it:
const (
	Nowhere    Where = iota // nobody
	OnItsNode               // the devices on the node that it hits
	Everywhere              // all, while Redis or its place changes
)

// A Fault is something that goes wrong, and what is promised of it.
type Fault struct {
	Name  string
	Title string // for the table
	Forms []Form
	// Promise is what holds, in the table's words.
	Promise string
	// Hold is how long it lasts, at least and at most.
	Hold [2]time.Duration
	// Targets says that it hits one node.
	Targets bool

	// Loses says which subscribers may miss messages that channels do not remember.
	Loses Where
	// Refuses says whose messages may be refused while it lasts, or have no answer.
	Refuses Where
	// Data says that Redis may come out of it without some of what it had: counts, what
	// channels remember, idempotency keys, commands.
	Data bool
	// Empties says that Redis has nothing when it comes back.
	Empties bool
	// Fleet says that the fleet makes the fault: it hits an ingester or a group.
	Fleet bool
	// Outlasts says that it lasts so much longer than a lease of the group.
	Outlasts bool
	// Epoch says that channels begin a new epoch though nothing was lost: subscribers are told
	// of a gap.
	Epoch bool
	// Closes says that sockets may end: of its node, as a process that ends has none.
	Closes bool
	// Live bounds how long after its end all nodes deliver to each other again.
	Live time.Duration
	// Settle bounds how long presence and the registry take to be right once all devices are
	// connected and subscribed again.
	Settle time.Duration
}

var (
	direct = []Form{Server, Replica}
	every  = []Form{Server, Replica, Sentinel, Cluster}
)

const (
	second = time.Second
	live   = 2 * time.Second
	// settle is what presence has after a fault in which no node has died: an outage
	// after which Redis is empty shows no peer leaving for 10 s.
	settle = 15 * time.Second
)

// Faults are all that are known, in the order of the table.
var Faults = []Fault{
	{Name: "node-killed", Title: "a node is killed (`kill -9`)", Forms: every, Hold: [2]time.Duration{second, 4 * second}, Targets: true,
		Promise: "other nodes notice nothing; its devices come back, and its connections stop counting within 10 s",
		Loses:   OnItsNode, Refuses: OnItsNode, Closes: true, Live: live, Settle: settle},
	{Name: "node-drained", Title: "a node stops in order (SIGTERM)", Forms: every, Hold: [2]time.Duration{3 * second, 4 * second}, Targets: true,
		Promise: "its devices are told, move to other nodes within `-drain` and 5 s; other nodes notice nothing",
		Loses:   OnItsNode, Refuses: OnItsNode, Closes: true, Live: live, Settle: settle},
	{Name: "node-stopped", Title: "a node stands still (SIGSTOP), and goes on", Forms: every, Hold: [2]time.Duration{second, 12 * second}, Targets: true,
		Promise: "other nodes notice nothing; its sockets stay, and its entries are right again within 10 s",
		Loses:   OnItsNode, Refuses: OnItsNode, Live: live, Settle: settle},

	{Name: "link-cut", Title: "a node's connections to Redis break, and new ones work", Forms: every, Hold: [2]time.Duration{0, 0}, Targets: true,
		Promise: "devices and backends notice nothing; the node connects at once", Loses: OnItsNode, Refuses: Nowhere, Live: live, Settle: settle},
	{Name: "link-gone", Title: "a node cannot reach Redis", Forms: every, Hold: [2]time.Duration{2 * second, 5 * second}, Targets: true,
		Promise: "the node refuses publishes within 2 s; other nodes notice nothing", Loses: OnItsNode, Refuses: OnItsNode, Live: live, Settle: settle},
	{Name: "link-deaf", Title: "half a link: nothing comes from Redis", Forms: every, Hold: [2]time.Duration{2 * second, 6 * second}, Targets: true,
		Promise: "found within 3 s: the node refuses publishes, and serves again", Loses: OnItsNode, Refuses: OnItsNode, Live: live, Settle: settle},
	{Name: "link-mute", Title: "half a link: nothing reaches Redis", Forms: every, Hold: [2]time.Duration{2 * second, 6 * second}, Targets: true,
		Promise: "found within 3 s: the node refuses publishes, and serves again", Loses: OnItsNode, Refuses: OnItsNode, Live: live, Settle: settle},
	{Name: "link-slow", Title: "a link takes 20 to 120 ms more, each way", Forms: every, Hold: [2]time.Duration{3 * second, 5 * second}, Targets: true,
		Promise: "nothing is lost and nothing is refused", Loses: Nowhere, Refuses: Nowhere, Live: live, Settle: settle},

	{Name: "redis-killed", Title: "Redis is killed (`kill -9`) and comes back empty", Forms: direct, Hold: [2]time.Duration{second, 3 * second},
		Promise: "sockets stay; counters of messages begin at 0 again, channels begin a new epoch; devices are receivers of commands again within 2 s; all else heals by itself", Loses: Everywhere, Refuses: Everywhere, Data: true, Empties: true, Live: live, Settle: settle},
	{Name: "redis-restarted", Title: "Redis is killed (`kill -9`) and comes back with its append-only file (`appendfsync always`)", Forms: []Form{Server}, Hold: [2]time.Duration{second, 3 * second},
		Promise: "sockets stay; groups lose nothing that was acked, and counts are exact after; channels begin a new epoch", Loses: Everywhere, Refuses: Everywhere, Epoch: true, Live: live, Settle: settle},
	{Name: "redis-stopped", Title: "Redis stands still (SIGSTOP), and goes on", Forms: direct, Hold: [2]time.Duration{second, 6 * second},
		Promise: "sockets stay; publishes are refused within 2 s, and all counts are exact after", Loses: Everywhere, Refuses: Everywhere, Live: live, Settle: settle},
	{Name: "redis-full", Title: "Redis is out of memory (`OOM`, `noeviction`)", Forms: direct, Hold: [2]time.Duration{2 * second, 5 * second},
		Promise: "publishes and new connections are refused; what was acked is delivered", Loses: Nowhere, Refuses: Everywhere, Live: live, Settle: settle},
	{Name: "redis-readonly", Title: "Redis takes no writes (`READONLY`)", Forms: []Form{Server}, Hold: [2]time.Duration{2 * second, 5 * second},
		Promise: "publishes and new connections are refused; what was acked is delivered; channels begin a new epoch, for a server that was a replica may have lost some", Loses: Nowhere, Refuses: Everywhere, Epoch: true, Live: live, Settle: settle},
	{Name: "redis-emptied", Title: "Redis is emptied (`FLUSHALL`)", Forms: direct, Hold: [2]time.Duration{0, 0},
		Promise: "sockets stay; counters of messages begin at 0 again, channels begin a new epoch; devices are receivers of commands again within 2 s; all else heals by itself", Loses: Everywhere, Refuses: Everywhere, Data: true, Empties: true, Live: live, Settle: settle},
	{Name: "redis-cut", Title: "Redis closes all connections (`CLIENT KILL`)", Forms: direct, Hold: [2]time.Duration{0, 0},
		Promise: "devices and backends notice nothing; nodes connect at once", Loses: Everywhere, Refuses: Nowhere, Live: live, Settle: settle},
	{Name: "clock-set", Title: "Redis's clock steps 5 s ahead, and back", Forms: []Form{Clock}, Hold: [2]time.Duration{4 * second, 6 * second},
		Promise: "refuses at most the messages under way at the steps; caps hold", Loses: Nowhere, Refuses: Nowhere, Live: live, Settle: settle},

	{Name: "failover-planned", Title: "planned failover; old connections stay open", Forms: []Form{Replica, Sentinel, Cluster}, Hold: [2]time.Duration{0, 0},
		Promise: "sockets stay; nodes leave the demoted primary by themselves", Loses: Everywhere, Refuses: Everywhere, Data: true, Live: live, Settle: settle},
	{Name: "failover-killed", Title: "the primary is killed, the replica promoted", Forms: []Form{Replica, Sentinel, Cluster}, Hold: [2]time.Duration{second, 3 * second},
		Promise: "sockets stay; lost is what the replica had not got", Loses: Everywhere, Refuses: Everywhere, Data: true, Live: live, Settle: settle},
	{Name: "failover-stopped", Title: "the primary stands still, the replica is promoted; the primary comes back as a replica", Forms: []Form{Replica, Sentinel, Cluster}, Hold: [2]time.Duration{second, 3 * second},
		Promise: "sockets stay; lost is what the replica had not got", Loses: Everywhere, Refuses: Everywhere, Data: true, Live: live, Settle: settle},

	{Name: "ingester-killed", Title: "an ingester is killed, and starts again", Forms: every, Hold: [2]time.Duration{second, 3 * second}, Fleet: true,
		Promise: "others get what it had not acknowledged at once, with a higher `attempt`; nothing is lost", Loses: Nowhere, Refuses: Nowhere, Live: live, Settle: settle},
	{Name: "ingester-paused", Title: "an ingester stands still longer than its leases, and goes on", Forms: every, Hold: [2]time.Duration{second, 4 * second}, Fleet: true, Outlasts: true,
		Promise: "others get what it held when its leases end; its late acknowledgements are `lease_lost`, and it gets new messages", Loses: Nowhere, Refuses: Nowhere, Live: live, Settle: settle},
	{Name: "sink-killed", Title: "the endpoint of a webhook is killed, and starts again", Forms: every, Hold: [2]time.Duration{second, 4 * second}, Fleet: true,
		Promise: "the group keeps the messages, and they are delivered when it is back; nothing is lost", Loses: Nowhere, Refuses: Nowhere, Live: live, Settle: settle},
	{Name: "sink-slow", Title: "the endpoint of a webhook is slow, hangs, and answers 503", Forms: every, Hold: [2]time.Duration{4 * second, 8 * second}, Fleet: true,
		Promise: "the group keeps the messages; nothing is lost, and each channel stays in order", Loses: Nowhere, Refuses: Nowhere, Live: live, Settle: settle},
	{Name: "group-full", Title: "a group is full, then drained", Forms: every, Hold: [2]time.Duration{0, 0}, Fleet: true,
		Promise: "publishes to it are refused with `group_full`, and neither published nor counted; drained, it takes messages again", Loses: Nowhere, Refuses: Nowhere, Live: live, Settle: settle},

	{Name: "resharding", Title: "slots move to another master, under traffic", Forms: []Form{Cluster}, Hold: [2]time.Duration{2 * second, 4 * second},
		Promise: "sockets stay; subscriptions follow their slots; channels that move begin a new epoch", Loses: Everywhere, Epoch: true, Refuses: Everywhere, Live: live, Settle: settle},
	{Name: "master-added", Title: "a master is added and gets slots", Forms: []Form{Cluster}, Hold: [2]time.Duration{2 * second, 4 * second},
		Promise: "sockets stay; subscriptions follow their slots; channels that move begin a new epoch", Loses: Everywhere, Epoch: true, Refuses: Everywhere, Live: live, Settle: settle},
}

// Of are the faults that a form has.
func Of(f Form) (of []Fault) {
	for _, fault := range Faults {
		if slices.Contains(fault.Forms, f) {
			of = append(of, fault)
		}
	}
	return of
}

// ByName finds a fault.
func ByName(name string) (Fault, bool) {
	i := slices.IndexFunc(Faults, func(f Fault) bool { return f.Name == name })
	if i < 0 {
		return Fault{}, false
	}
	return Faults[i], true
}
