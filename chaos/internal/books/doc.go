// Package books records what a fleet sends, is answered and hears, and judges at the end
// which of it the contract does not allow: acked messages that were lost, messages that came
// twice, out of order or though they were refused, ghosts, and caps that were passed. All
// times are given to it, so that it can be tested without any.
package books
