// Package suite holds one test for all clients: the scenarios of scenarios.json, and a
// runner that puts each client through them on two nodes while one is restarted or killed.
// README.md states how a client's driver takes part.
package suite
