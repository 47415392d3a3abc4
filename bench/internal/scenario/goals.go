//go:build linux

package scenario

import (
	"fleetwire/bench/internal/report"
	"fleetwire/bench/internal/system"
)

// Names of the figures that goals are about.
const (
	cpuPerDelivery   = "CPU/delivery"
	cpuPerMessage    = "CPU/message"
	cpuPerRequest    = "CPU/request"
	cpuPerCommand    = "CPU/command"
	cpuPerAnswer     = "CPU/answered device"
	cpuPerConnection = "CPU/connection"
	deliveriesPerSec = "deliveries/s"
	messagesPerSec   = "messages/s"
	requestsPerSec   = "requests/s"
	commandsPerSec   = "commands/s"
	commandRatio     = "p50 of a command/a publish"
	untilAnswered    = "until all have answered"
	redisPart        = "of it Redis"
	memory           = "memory/connection"
	p50              = "p50"
	p99              = "p99"
	lost             = "lost"
	slowRatio        = "p99 with/without"
	slowMemory       = "extra memory"
	untilAll         = "all back after"
	untilLast        = "until the last"
	allConnected     = "all connected after"
	untilRecovered   = "all recovered after"
	errorCount       = "errors"
	nodeShare        = "of the node's core"
	redisShare       = "of Redis's core"
	besideRatio      = "p99 with/alone"
)

// Goals are what Fleetwire is to reach on a machine with two cores that runs the
// load generator, too.
var Goals = append([]report.Goal{
	{Text: "fan-out to 1,000: CPU per delivery", Scenario: "fanout-1000", System: system.Fleetwire, Metric: cpuPerDelivery, Over: system.Floor, Bound: 1.1},
	{Text: "fan-out to 1,000: CPU per delivery", Scenario: "fanout-1000", System: system.Fleetwire, Metric: cpuPerDelivery, Over: system.NATS215, Bound: 0.75},
	{Text: "burst: deliveries/s", Scenario: "burst", System: system.Fleetwire, Metric: deliveriesPerSec, Over: system.NATS215, AtLeast: true, Bound: 1.5},
	{Text: "burst at twice that rate: deliveries/s", Scenario: "burst-10k", System: system.Fleetwire, Metric: deliveriesPerSec, Over: system.NATS215, AtLeast: true, Bound: 1.5},
	{Text: "burst: messages lost", Scenario: "burst", System: system.Fleetwire, Metric: lost, Bound: 0},
	{Text: "burst at twice that rate: messages lost", Scenario: "burst-10k", System: system.Fleetwire, Metric: lost, Bound: 0},
	{Text: "memory per idle connection, KiB", Scenario: "idle", System: system.Fleetwire, Metric: memory, Bound: 3.2},
	{Text: "memory per idle connection", Scenario: "idle", System: system.Fleetwire, Metric: memory, Over: system.Mosquitto, Bound: 1},
	{Text: "ingest saturated: CPU per message", Scenario: "ingest", System: system.Fleetwire, Metric: cpuPerMessage, Over: system.NATS215, Bound: 1.3},
	{Text: "ingest into channels that remember one message: CPU per message", Scenario: "ingest-last", System: system.Fleetwire, Metric: cpuPerMessage, Over: system.Centrifugo, Bound: 0.5},
	{Text: "ingest into channels that remember 100 messages: CPU per message", Scenario: "ingest-history", System: system.Fleetwire, Metric: cpuPerMessage, Over: system.Centrifugo, Bound: 0.5},
	{Text: "ingest into a group: messages/s", Scenario: "ingest-group", System: system.Fleetwire, Metric: messagesPerSec, AtLeast: true, Bound: 40_000},
	{Text: "ingest into a group, Redis with a file: CPU per message", Scenario: "ingest-group", System: system.FleetwireAOF, Metric: cpuPerMessage, Over: system.JetStream, Bound: 1},
	{Text: "10,000 messages/s across two nodes: all of Redis's CPU per message, three masters beside one server", Scenario: "ingest-nodes-10k", System: system.Cluster, Metric: redisPart, Over: system.Nodes, Bound: 1.15},
	{Text: "ingest across two nodes: all of Redis's CPU per message, three masters beside one server", Scenario: "ingest-nodes", System: system.Cluster, Metric: redisPart, Over: system.Nodes, Bound: 1.15},
	{Text: "ingest across two nodes: CPU per message", Scenario: "ingest-nodes", System: system.Nodes, Metric: cpuPerMessage, Over: system.NATSNodes, Bound: 1.3},
	{Text: "ingest unbounded: p99", Scenario: "ingest-flood", System: system.Fleetwire, Metric: p99, Over: system.NATS215, Bound: 2},
	{Text: "ingest at 10 k/s: p99", Scenario: "ingest-10k", System: system.Fleetwire, Metric: p99, Over: system.NATS215, Bound: 2},
	{Text: "REST publish, 1 worker: p50", Scenario: "rest-1", System: system.Fleetwire, Metric: p50, Over: system.Centrifugo, Bound: 0.9},
	{Text: "REST publish, 1 worker: CPU", Scenario: "rest-1", System: system.Fleetwire, Metric: cpuPerRequest, Over: system.Centrifugo, Bound: 0.9},
	{Text: "REST publish, 32 workers: requests/s", Scenario: "rest-32", System: system.Fleetwire, Metric: requestsPerSec, AtLeast: true, Bound: 20_000},
	{Text: "REST publish, 32 workers: CPU, µs", Scenario: "rest-32", System: system.Fleetwire, Metric: cpuPerRequest, Bound: 30},
	{Text: "a command and its answer, 1 caller: p50 over a publish's", Scenario: "command-1", System: system.Fleetwire, Metric: commandRatio, Bound: 2},
	{Text: "commands and their answers, 32 callers: a second", Scenario: "command-32", System: system.Fleetwire, Metric: commandsPerSec, AtLeast: true, Bound: 8000},
	{Text: "a command to 1,000 devices on two nodes: until all have answered, s", Scenario: "command-fleet", System: system.Nodes, Metric: untilAnswered, Bound: 1},
	{Text: "a command to 1,000 devices on two nodes: CPU an answered device, µs", Scenario: "command-fleet", System: system.Nodes, Metric: cpuPerAnswer, Bound: 40},
	{Text: "connect and subscribe: CPU", Scenario: "connect", System: system.Fleetwire, Metric: cpuPerConnection, Over: system.NATS215, Bound: 0.9},
	{Text: "a slow reader: the others' p99, with/without", Scenario: "slow", System: system.Fleetwire, Metric: slowRatio, Bound: 1.2},
	{Text: "a slow reader: extra memory, MiB", Scenario: "slow", System: system.Fleetwire, Metric: slowMemory, Bound: 4},
	{Text: "fleet reconnect: all back after, s", Scenario: "fleet", System: system.Nodes, Metric: untilAll, Bound: 15},
	{Text: "fleet reconnect: errors", Scenario: "fleet", System: system.Nodes, Metric: errorCount, Bound: 0},
	{Text: "10,000 devices come back and recover 10 messages each: all have them after, s", Scenario: "recover-10000", System: system.Nodes, Metric: untilRecovered, Bound: 3},
	{Text: "10,000 devices come back and recover 10 messages each: messages lost", Scenario: "recover-10000", System: system.Nodes, Metric: lost, Bound: 0},
	{Text: "90,000 devices on 5 nodes: one publish to all, s", Scenario: "devices-90000", System: system.Nodes, Metric: untilLast, Bound: 0.5},
	{Text: "90,000 devices on 5 nodes: messages lost", Scenario: "devices-90000", System: system.Nodes, Metric: lost, Bound: 0},
	{Text: "90,000 devices on 5 nodes: one publish to all, three masters beside one server", Scenario: "devices-90000", System: system.Cluster, Metric: untilLast, Over: system.Nodes, Bound: 1.1},
	{Text: "90,000 devices on 5 nodes and three masters: messages lost", Scenario: "devices-90000", System: system.Cluster, Metric: lost, Bound: 0},
	{Text: "252,000 devices on 14 nodes: one publish to all, s", Scenario: "devices-252000", System: system.Nodes, Metric: untilLast, Bound: 1.8},
	{Text: "252,000 devices on 14 nodes: messages lost", Scenario: "devices-252000", System: system.Nodes, Metric: lost, Bound: 0},
}, hostileGoals()...)

// hostileGoals are the same for each kind of frame.
func hostileGoals() (all []report.Goal) {
	for _, n := range full.nuisances() {
		name := hostile + n.name
		all = append(all,
			report.Goal{Text: name + ": of a core of the node, %", Scenario: name, System: system.Fleetwire, Metric: nodeShare, Bound: 12},
			report.Goal{Text: name + ": of a core of Redis, %", Scenario: name, System: system.Fleetwire, Metric: redisShare, Bound: 12},
			report.Goal{Text: name + ": a bystander's p99, with/alone", Scenario: name, System: system.Fleetwire, Metric: besideRatio, Bound: 1.5})
	}
	return all
}
