package rediskeys

import (
	"strconv"
	"strings"
)

// Slot is where a Redis Cluster puts a key: by what stands in its first braces, if that
// is anything, else by all of it.
func Slot(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ends := strings.Cut(rest, "}"); ends && tag != "" {
			key = tag
		}
	}
	return slot(key)
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
