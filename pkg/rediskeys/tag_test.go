package rediskeys

import (
	"fmt"
	"strings"
	"testing"
)

// TestSlot: the vector of the Redis Cluster specification, and two slots that
// CLUSTER KEYSLOT gives.
func TestSlot(t *testing.T) {
	for tag, want := range map[string]int{"123456789": 0x31c3, "foo": 12182, "user1000": 3443, "": 0} {
		if got := slot(tag); got != want {
			t.Errorf("slot(%q) = %d, want %d", tag, got, want)
		}
	}
}

// TestSlotOfKey: what the specification says of braces.
func TestSlotOfKey(t *testing.T) {
	for key, same := range map[string]string{"{user1000}.following": "user1000", "foo{}{bar}": "foo{}{bar}", "foo{{bar}}zap": "{bar", "foo{bar}{zap}": "bar", "foo{bar": "foo{bar", "": ""} {
		if Slot(key) != slot(same) {
			t.Errorf("%q is not in the slot of %q", key, same)
		}
	}
}

// Any app's buckets spread evenly over the masters, however many there are.
func TestTagsSpread(t *testing.T) {
	for _, app := range []string{"a", "app", "app_demo", "acme", "prod-eu-1", "0", strings.Repeat("z", 64)} {
		taken := map[int]string{}
		for _, tag := range tags {
			taken[slot(app+"."+tag)] = tag
		}
		if len(taken) != BucketsPerApp {
			t.Fatalf("%s: %d buckets lie in %d slots", app, BucketsPerApp, len(taken))
		}
		for _, masters := range []int{2, 3, 4, 5, 6, 8, 12, 16} {
			of := make([]int, masters)
			for s := range taken {
				of[s*masters/slots]++
			}
			for master, n := range of {
				if least := BucketsPerApp / masters; n < least-1 || n > least+2 {
					t.Errorf("%s: master %d of %d has %d of %d buckets", app, master, masters, n, BucketsPerApp)
				}
			}
		}
	}
}

// Names as fleets have them spread over the buckets as by chance.
func TestNamesSpread(t *testing.T) {
	const names = 256 * 64
	for kind, name := range map[string]func(i int) string{
		"numbers":     func(i int) string { return fmt.Sprintf("devices/camera-%05d/commands", i) },
		"even":        func(i int) string { return fmt.Sprintf("peer-%d", 2*i) },
		"said twice":  func(i int) string { return fmt.Sprintf("d/%d/%d", i, i) },
		"digit twice": func(i int) string { return strings.Join(strings.Split(fmt.Sprint(i, i), ""), "x") },
		"hexadecimal": func(i int) string { return fmt.Sprintf("%08x", i*16) },
		"short":       func(i int) string { return fmt.Sprint(i) },
	} {
		of := map[string]int{}
		for i := range names {
			of[TagOf(name(i))]++
		}
		chi := 0.0
		for _, tag := range tags {
			d := float64(of[tag]) - names/BucketsPerApp
			chi += d * d / (names / BucketsPerApp)
		}
		if chi > 2*BucketsPerApp { // by chance it is 255 ± 23
			t.Errorf("%s: χ² = %.0f over %d buckets", kind, chi, BucketsPerApp)
		}
	}
}

// A key that never is lies in the slot of the key that it goes with, and is none of ours.
func TestAbsentKey(t *testing.T) {
	var n Namespace
	for _, key := range []string{n.Epoch(), n.Inbox("node"), n.Leases(), n.MessageCount("app", "2026-01"), n.Bucket("app", "c{x}").Last("c{x}"), "plain"} {
		never := AbsentKey(key)
		if Slot(never) != Slot(key) {
			t.Errorf("%s is in slot %d, and %s in %d", never, Slot(never), key, Slot(key))
		}
		if _, _, err := n.ParseBucket(never); err == nil || never == key {
			t.Errorf("%s could be there", never)
		}
	}
}
