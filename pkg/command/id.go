package command

import (
	"crypto/rand"
	"encoding/base32"
	"strings"

	"fleetwire/pkg/rediskeys"
)

const idPrefix = "cmd_"

const (
	tagBytes    = 3  // of a bucket's tag
	secretBytes = 26 // of 128 bits in base 32
)

var encoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// place is where a command lies: its bucket, and its name there.
type place struct {
	bucket rediskeys.Bucket
	local  string
}

func (p place) id() string { return idPrefix + p.bucket.Tag() + p.local }

// newPlace draws the id of a command of the channel.
func newPlace(keys rediskeys.Namespace, app, channel string) place {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return place{keys.Bucket(app, channel), encoding.EncodeToString(random[:])}
}

// placeOf is where an app's command with that id lies. It is not ok if that is no id.
func placeOf(keys rediskeys.Namespace, app, id string) (p place, ok bool) {
	rest, ok := strings.CutPrefix(id, idPrefix)
	if !ok || len(rest) != tagBytes+secretBytes {
		return place{}, false
	}
	tag, local := rest[:tagBytes], rest[tagBytes:]
	for _, c := range []byte(local) {
		if !(c >= 'a' && c <= 'z' || c >= '2' && c <= '7') {
			return place{}, false
		}
	}
	p.local = local
	p.bucket, ok = keys.BucketOf(app, tag)
	return p, ok
}
