// Package idempotency has requests that are repeated with the same key done once. A
// script that does what is asked for remembers, in the same step, what became of it.
//
// The script begins with Lua. It calls repeated before it does anything, and keep
// when it has done it:
//
//	repeated(key, fingerprint) → nil: the request is new; 'repeated' and what was kept; 'conflict': another body
//	keep(key, fingerprint, result, life)    life in milliseconds
package idempotency

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// Lua has the functions.
//
//go:embed idempotency.lua
var Lua string

// ID stands for a key of a channel in the names of Redis keys (rediskeys.Bucket.Idempotency).
// Requests of different kinds, besides those without one, do not share keys.
func ID(channel, key string, kind ...string) string {
	h := sha256.New()
	write(h, channel, key)
	write(h, kind...)
	return hex.EncodeToString(h.Sum(nil))
}

// Fingerprint tells bodies apart: what they say, field by field, in an order that the
// caller keeps. No two that differ have the same.
func Fingerprint(fields ...string) string {
	h := sha256.New()
	write(h, fields...)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func write(h hash.Hash, fields ...string) {
	for _, f := range fields {
		fmt.Fprintf(h, "%d:%s", len(f), f)
	}
}

// Kept reads what keep has kept under a key, for a caller that must not do what is asked for.
// It is not ok if the body was another one.
func Kept(value, fingerprint string) (result string, ok bool) {
	was, result, _ := strings.Cut(value, " ")
	return result, was == fingerprint
}
