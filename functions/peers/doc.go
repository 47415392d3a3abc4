// Package peers serves what a backend may ask and do about the peers of its app:
// DELETE /v1/peers/{peer} (protocol §5).
package peers
