// Package deploy tests what lies beside it: how Fleetwire is run on servers, with compose and
// on Kubernetes.
package deploy
