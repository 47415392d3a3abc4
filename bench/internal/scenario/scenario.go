//go:build linux

package scenario

import (
	"slices"
	"time"

	"fleetwire/bench/internal/system"
)

// Scenario is one of them.
type Scenario struct {
	Name, Title string
	Systems     []string
	needs       needs
	run         func(*trial) error
}

// needs is what a scenario asks of the machine.
type needs struct {
	connections int           // that one process holds
	nodes       int           // of systems of several, 0: two
	memory      int64         // bytes that must be available
	limit       time.Duration // of one measurement of one system, 0: measureLimit
}

// size is how much of everything there is in a run.
type size struct {
	few, many             int // subscribers of a fan-out
	messages, manyBatches int // published to them, one at a time

	burstRate float64
	burst     time.Duration

	devices    int
	steadyRate float64
	load       time.Duration // of ingest and REST

	connects   int
	idle       int
	settle     time.Duration
	slowRate   float64
	slow       time.Duration
	patterns   [3]int
	fleet      int
	fleetLimit time.Duration

	hostile     time.Duration // of frames of one kind
	fans, crowd int           // subscribers and watchers of the hostile device's channel

	fleetCommands int // to all devices, one at a time

	recovering int // devices

	everyone  int // devices on all nodes
	publishes int // to all of them, one at a time
}

var full = size{
	few: 1000, many: 10_000, messages: 500, manyBatches: 50,
	burstRate: 5000, burst: 2 * time.Second,
	devices: 1000, steadyRate: 10_000, load: 3 * time.Second,
	connects: 5000, idle: 10_000, settle: 5 * time.Second,
	slowRate: 100, slow: 8 * time.Second,
	patterns: [3]int{10, 100, 1000},
	fleet:    15_000, fleetLimit: 60 * time.Second,
	hostile: 4 * time.Second, fans: 100, crowd: 1000,
	fleetCommands: 10, recovering: 10_000,
	everyone: usualDevices, publishes: 5,
}

// quick goes through everything in a minute. Its figures mean nothing.
var quick = size{
	few: 50, many: 100, messages: 20, manyBatches: 10,
	burstRate: 500, burst: 200 * time.Millisecond,
	devices: 50, steadyRate: 500, load: 200 * time.Millisecond,
	connects: 100, idle: 200, settle: 100 * time.Millisecond,
	slowRate: 100, slow: 300 * time.Millisecond,
	patterns: [3]int{5, 10, 20},
	fleet:    200, fleetLimit: 20 * time.Second,
	hostile: 200 * time.Millisecond, fans: 5, crowd: 20,
	fleetCommands: 2, recovering: 200,
	everyone: 200, publishes: 2,
}

var (
	peers         = []string{system.Fleetwire, system.NATS, system.NATS215, system.Centrifugo, system.Mosquitto}
	fanoutSystems = append(peers[:len(peers):len(peers)], system.Floor)
	wildcardPeers = []string{system.Fleetwire, system.NATS, system.NATS215, system.Mosquitto} // Centrifugo has none
	fastPeers     = []string{system.Fleetwire, system.NATS, system.NATS215, system.Centrifugo}
	backends      = []string{system.Fleetwire, system.Embedded, system.Centrifugo}
	clusters      = []string{system.Nodes, system.NATSNodes, system.CentrifugoNodes}
)

// withEmbedded puts the embedded Redis behind the real one.
func withEmbedded(systems []string) []string {
	return slices.Insert(slices.Clone(systems), 1, system.Embedded)
}

// withCluster puts nodes on a Redis Cluster of three masters behind those on one Redis.
func withCluster(systems []string) []string {
	return slices.Insert(slices.Clone(systems), 1, system.Cluster)
}

// All are the scenarios at full size, or small ones for a smoke test. devices is how
// many there are in the scenario of that name, 0: as many as usual.
func All(small bool, devices int) []Scenario {
	z := full
	if small {
		z = quick
	}
	one := func(connections int) needs { return needs{connections: connections} }
	all := []Scenario{
		{"fanout-1000", "one message at a time to 1,000 subscribers; published by HTTP where there is an API", withEmbedded(fanoutSystems), one(z.few + 1), z.fanOut(z.few, z.messages)},
		{"fanout-10000", "one message at a time to 10,000 subscribers; published by HTTP where there is an API", fanoutSystems, one(z.many + 1), z.fanOut(z.many, z.manyBatches)},
		{"burst", "5,000 messages a second offered to 1,000 subscribers, for 2 s", fastPeers, one(z.few + 1), z.burstAt(z.burstRate)},
		{"burst-10k", "10,000 messages a second offered to 1,000 subscribers, for 2 s", fastPeers, one(z.few + 1), z.burstAt(2 * z.burstRate)},
		{"ingest", "1,000 devices publish as fast as they are heard, at most 8,192 messages under way, to one wildcard", withEmbedded(peers), one(z.devices + 1), z.ingest},
		{"ingest-last", "ingest into channels that remember one message", []string{system.Fleetwire, system.Centrifugo}, one(z.devices + 1), remember(system.Last, z.ingest)},
		{"ingest-history", "ingest into channels that remember 100 messages", []string{system.Fleetwire, system.Centrifugo}, one(z.devices + 1), remember(system.Remembered, z.ingest)},
		{"ingest-group", "ingest into a group, which one connection is sent and acknowledges, 100 messages at once; beside a stream of JetStream in a file", []string{system.Fleetwire, system.FleetwireAOF, system.JetStream}, one(z.devices + 1), remember(system.Grouped, z.ingest)},
		{"ingest-nodes", "the same with the devices on one node and the ingester on another", withCluster(clusters), one(z.devices + 1), z.ingest},
		{"ingest-flood", "1,000 devices publish as fast as their sockets take it to one wildcard", fastPeers, one(z.devices + 1), z.flood},
		{"ingest-10k", "1,000 devices publish 10,000 messages a second to one wildcard", withEmbedded(peers), one(z.devices + 1), z.steadyIngest},
		{"ingest-last-10k", "the same into channels that remember one message", []string{system.Fleetwire, system.Centrifugo}, one(z.devices + 1), remember(system.Last, z.steadyIngest)},
		{"ingest-history-10k", "the same into channels that remember 100 messages", []string{system.Fleetwire, system.Centrifugo}, one(z.devices + 1), remember(system.Remembered, z.steadyIngest)},
		{"ingest-nodes-10k", "the same with the devices on one node and the ingester on another, with one Redis and with a cluster of three masters", []string{system.Nodes, system.Cluster}, one(z.devices + 1), z.steadyIngest},
		{"rest-1", "HTTP publishes, 1 worker, one subscriber", backends, one(10), z.rest(1)},
		{"rest-4", "HTTP publishes, 4 workers, one subscriber", backends, one(10), z.rest(4)},
		{"rest-32", "HTTP publishes, 32 workers, one subscriber", backends, one(50), z.rest(32)},
		{"rest-flood", "HTTP publishes, 1 worker, beside 1,000 devices that publish as fast as their sockets take it", []string{system.Fleetwire, system.Centrifugo}, one(z.devices + 10), z.restFlood},
		{"command-1", "a command to one device and its answer, 1 caller, in turns with publishes", []string{system.Fleetwire}, one(10), z.commandOne},
		{"command-32", "commands to one device each and their answers, 32 callers", []string{system.Fleetwire}, one(50), z.commandMany(32)},
		{"command-fleet", "a command to 1,000 devices on two nodes and all answers, one at a time", []string{system.Nodes}, one(z.devices + 1), z.commandFleet},
		{"connect", "connect and subscribe to a channel of one's own, 32 at a time", peers, one(z.connects + warmConnects), z.connect},
		{"idle", "10,000 idle connections, each subscribed to a channel of its own", peers, one(z.idle + warmConnects), z.idleMemory},
		{"slow", "100 messages a second to 1,000 subscribers, beside 1.6 MB/s to one more, who first reads and then does not", fastPeers, one(z.few + 3), z.slowReader},
		{"wildcard-10", "ingest with 10 wildcard subscribers, each with a pattern of its own", wildcardPeers, one(z.devices + z.patterns[0]), z.wildcards(z.patterns[0])},
		{"wildcard-100", "ingest with 100 wildcard subscribers, each with a pattern of its own", wildcardPeers, one(z.devices + z.patterns[1]), z.wildcards(z.patterns[1])},
		{"wildcard-1000", "ingest with 1,000 wildcard subscribers, each with a pattern of its own", wildcardPeers, one(z.devices + z.patterns[2]), z.wildcards(z.patterns[2])},
		{"fleet", "15,000 devices drop and come back at once, to two nodes (nats and mosquitto: one)", []string{system.Nodes, system.NATS, system.NATSNodes, system.CentrifugoNodes, system.Mosquitto}, one(z.fleet), z.fleetReconnect},
		{"recover-10000", "10,000 devices come back at once to two nodes, and recover 10 messages each of a channel of their own", []string{system.Nodes}, one(z.recovering), z.recoverAll},
		z.devicesScenario(devices),
	}
	for _, n := range z.nuisances() {
		all = append(all, Scenario{hostile + n.name, "one device sends 95 frames a second: " + n.title, []string{system.Fleetwire}, one(n.others + 5), z.beside(n)})
	}
	return all
}
