//go:build linux

package scenario

import "fleetwire/bench/internal/report"

// Charts are what docs/performance.md shows.
var Charts = []report.Chart{
	{File: "fanout.svg", Title: "Fan-out of one message: server CPU per delivery (less is better)", Metric: cpuPerDelivery, Groups: []report.Group{
		{Label: "to 1,000 subscribers", Scenario: "fanout-1000"}, {Label: "to 10,000 subscribers", Scenario: "fanout-10000"}}},
	{File: "burst.svg", Title: "Bursts to 1,000 subscribers: deliveries a second (more is better)", Metric: deliveriesPerSec, Groups: []report.Group{
		{Label: "5 M a second are offered", Scenario: "burst"}, {Label: "10 M a second are offered", Scenario: "burst-10k"}}},
	{File: "memory.svg", Title: "Server memory for each idle subscribed connection (less is better)", Metric: memory, Groups: []report.Group{
		{Label: "10,000 connections, a channel each", Scenario: "idle"}}},
	{File: "ingest.svg", Title: "1,000 devices publish to wildcards, saturated: CPU per message (less is better)", Metric: cpuPerMessage, Groups: []report.Group{
		{Label: "1 pattern", Scenario: "ingest"}, {Label: "1 pattern, from one node to another", Scenario: "ingest-nodes"}, {Label: "10 patterns", Scenario: "wildcard-10"},
		{Label: "100 patterns", Scenario: "wildcard-100"}, {Label: "1,000 patterns", Scenario: "wildcard-1000"}}},
	{File: "latency.svg", Title: "1,000 devices publish 10,000 messages a second: p99 latency (less is better)", Metric: p99, Groups: []report.Group{
		{Label: "to one wildcard", Scenario: "ingest-10k"}}},
	{File: "rest.svg", Title: "HTTP publishes a second (more is better)", Metric: requestsPerSec, Groups: []report.Group{
		{Label: "1 worker", Scenario: "rest-1"}, {Label: "4 workers", Scenario: "rest-4"}, {Label: "32 workers", Scenario: "rest-32"}}},
	{File: "connect.svg", Title: "Connect and subscribe: CPU per connection (less is better)", Metric: cpuPerConnection, Groups: []report.Group{
		{Label: "32 at a time", Scenario: "connect"}}},
	{File: "fleet.svg", Title: "15,000 devices come back at once: until all are subscribed (less is better)", Metric: untilAll, Groups: []report.Group{
		{Label: "on two nodes; nats and mosquitto on one", Scenario: "fleet"}}},
	{File: "devices.svg", Title: "One message to 90,000 devices on five nodes: until the last has it (less is better)", Metric: untilLast, Groups: []report.Group{
		{Label: "five processes of the load generator", Scenario: "devices-90000"}}},
}
