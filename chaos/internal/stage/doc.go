// Package stage runs what the faults hit: nodes, each with links of its own to Redis, and
// Redis in one of its forms. It injects faults, and ends every process that it starts.
package stage
