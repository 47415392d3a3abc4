package rediskeys

import "strings"

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
