// Package scenario is what is measured: each scenario runs its systems one after
// the other, again and again, so that what the machine does beside it meets all of
// them alike.
package scenario
