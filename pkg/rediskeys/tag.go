package rediskeys

import (
	"fmt"

	"fleetwire/clients/go/channel"
)

// On a Redis Cluster a key's slot is CRC16 of what stands in braces, and each
// master has a range of slots. Counting through 0…255 would leave some masters with
// a quarter more than others. The tags below are chosen so that the 256 of any app lie
// in 256 different 256ths of the slots: CRC16 is linear, so an app's id moves all
// of them by the same XOR.

// BucketsPerApp is how many buckets the channels, and the peers, of an app lie in.
const BucketsPerApp = 256

const (
	tagBytes = 3
	// anyTag matches every tag in a glob, and nothing else that can stand there.
	anyTag = "???"
)

// tags has each bucket's tag: the least number whose slot is in the bucket's 256th.
var tags = chooseTags()

func chooseTags() (tags [BucketsPerApp]string) {
	for n := 999; n >= 0; n-- {
		tag := fmt.Sprintf("%03d", n)
		tags[slot(tag)/(slots/BucketsPerApp)] = tag
	}
	return tags
}

// TagOf is the tag of the bucket of a channel or peer. The channel that tells whether a peer
// is online lies in the peer's bucket.
func TagOf(name string) string {
	if name != "" && name[0] == '_' {
		if peer, ok := channel.ConnectivityPeer(name); ok {
			name = peer
		}
	}
	h := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint32(name[i])) * 16777619
	}
	// Folded, for its low bits alone hardly see a byte that stands there twice.
	return tags[byte(h^h>>8^h>>16^h>>24)]
}

// slots is how many there are on a Redis Cluster.
const slots = 16384

// slot is the slot of a tag: CRC-16/XMODEM.
func slot(tag string) int {
	var crc uint16
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			carry := crc&0x8000 != 0
			crc <<= 1
			if carry {
				crc ^= 0x1021
			}
		}
	}
	return int(crc) % slots
}
