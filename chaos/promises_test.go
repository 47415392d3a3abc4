package main

// promise is what docs/operations.md says of a fault, and which faults try it.
type promise struct {
	text    string
	faults  []string
	untried string // why none does
}

var promises = []promise{
	{text: "Sockets stay open. Publishes are answered with `backend_error`", faults: []string{"redis-killed", "redis-stopped", "redis-full", "redis-readonly", "link-gone"}},
	{text: "each node subscribes again to everything its connections want, within 2 seconds", faults: []string{"redis-killed", "redis-stopped", "failover-killed", "failover-planned", "resharding", "master-added"}},
	{text: "may have been delivered (delivery is at most once)", faults: []string{"redis-killed", "failover-killed"}},
	{text: "If a connection to Redis breaks and Redis lives, devices and backends notice nothing", faults: []string{"link-cut", "redis-cut"}},
	{text: "Redis publishes no message later than 1.5 seconds after the process accepted it", faults: []string{"redis-stopped", "link-mute", "link-deaf", "link-slow", "failover-stopped"}},
	{text: "Setting Redis's clock ahead by a second or more refuses at most", faults: []string{"clock-set"}},
	{text: "When Redis's clock is set, each node notices within 0.5 s.", faults: []string{"clock-set"}},
	{text: "| no answer, or an error: `OOM`, `READONLY`", faults: []string{"redis-full", "redis-readonly", "redis-stopped"}},
	{text: "| the publish reaches no subscriber, as after a failover behind a proxy", faults: []string{"failover-planned"}},
	{text: "| the publish is not heard for 2 s |", faults: []string{"link-deaf"}},
	{text: "| that Redis works again |", faults: []string{"redis-full", "redis-stopped"}},
	{text: "A link that is cut is made anew at once", faults: []string{"link-cut"}},
	{text: "A Redis that came back empty has forgotten this month's message counters", faults: []string{"redis-killed", "redis-emptied"}},
	{text: "The connection counts heal\nby themselves, and so does who is in which channel", faults: []string{"redis-killed", "redis-emptied"}},
	{text: "A replica that is promoted may lack the last that nodes told the former primary.", faults: []string{"failover-killed", "failover-stopped", "failover-planned"}},
	{text: "A replica that takes no writes counts as an outage", faults: []string{"redis-readonly", "failover-planned"}},
	{text: "| a replica is promoted, a server starts again, with its data or without |", faults: []string{"failover-planned", "failover-killed", "failover-stopped", "redis-killed"}},
	{text: "| a primary is demoted, copies another's data and is promoted again |", faults: []string{"failover-planned"}},
	{text: "| `FLUSHALL`, or the channel's keys are gone |", faults: []string{"redis-emptied"}},
	{text: "| no append-only file | all that waits |", faults: []string{"redis-killed", "redis-emptied"}},
	{text: "| `appendonly yes`, `appendfsync everysec` |", untried: "what it loses depends on the disk; make proof runs with it"},
	{text: "| `appendonly yes`, `appendfsync always` | nothing |", faults: []string{"redis-restarted"}},
	{text: "| `min-replicas-to-write 1`, `min-replicas-max-lag 2` |", untried: "Redis keeps it"},
	{text: "Ingesters get each acked message at least once, in the order of its channel", faults: []string{"ingester-killed", "ingester-paused", "node-killed", "node-drained", "node-stopped", "redis-restarted", "redis-cut"}},
	{text: "also if the endpoint is killed, hangs or refuses", faults: []string{"sink-killed", "sink-slow", "node-killed"}},
	{text: "A group that is full refuses publishes with `group_full`, publishes and counts none of them", faults: []string{"group-full"}},
	{text: "ingesters that are connected, and those that pull with REST, get messages all the same, and make room", faults: []string{"redis-full"}},
	{text: "| a primary has had no replica for an hour", untried: "it takes an hour; the package that has the epochs tests it"},
	{text: "| Redis does not let the user call `INFO`", untried: "it is about rights, and no fault; e2e tests what a user without them gets"},
	{text: "On SIGTERM (or SIGINT) a node stops accepting connections", faults: []string{"node-drained"}},
	{text: "When a node is killed, its connections stop counting within 10 seconds", faults: []string{"node-killed", "node-stopped"}},
	// While one master of a cluster hangs.
	{text: "| an app's |", untried: hangs},
	{text: "| a channel's |", untried: hangs},
	{text: "| a peer's |", untried: hangs},
	{text: "| some of the channels that a wildcard may match |", untried: hangs},
	{text: "| `{leases}` |", untried: hangs},
	{text: "| `{index}` |", untried: hangs},
}

const hangs = "a replica takes over within a second in chaos; e2e has each master hang without one"
