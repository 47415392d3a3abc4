// Package check tries deploy/ with the libraries of the tools that will read it: Helm
// lints and renders the chart, Kubernetes' own types read what comes out, and the compose library
// reads compose.yaml. It is a module of its own, so that these stay out of Fleetwire's.
package check
