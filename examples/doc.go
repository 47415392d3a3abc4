// Package examples tests the programs below it, which are written in other
// languages and stand on their own: README.md tells how to run them by hand.
// The tests here run them as processes, the way their users do: the whole story
// against two nodes on one Redis, and the cameras alone against a service that
// treats them badly.
package examples
