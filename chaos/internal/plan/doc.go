// Package plan knows the faults that make chaos injects, what docs/operations.md
// promises about each, and in which order a seed has them come. It does not depend on
// time: the same seed is always the same plan.
package plan
