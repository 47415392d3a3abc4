package rediskeys

import (
	"strconv"
	"strings"
)

// Slot is where a Redis Cluster puts a key.
func Slot(key string) int { return slot(hashed(key)) }

// hashed is the part of a key that its slot depends on: what stands in its first braces, if
// that is anything, else all of it.
func hashed(key string) string {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ends := strings.Cut(rest, "}"); ends && tag != "" {
			return tag
		}
	}
	return key
}

// Slots is how many slots a Redis Cluster has.
const Slots = slots

// braced is a tag in braces that lies in the slot.
func braced(in int) string {
	for n := 0; ; n++ { // the least such number is below 110,000
		if tag := strconv.Itoa(n); slot(tag) == in {
			return "{" + tag + "}"
		}
	}
}

// AbsentKey is a key in the slot of a key. Nothing ever writes it.
func AbsentKey(key string) string {
	prefix, _, _ := strings.Cut(key, ":")
	return prefix + ":{" + hashed(key) + "}never"
}
