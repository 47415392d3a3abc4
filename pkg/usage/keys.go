package usage

import (
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/quota"
)

// Kind is what a ranking ranks. Its text is the ranking's name in paths and keys.
type Kind string

// The two rankings.
const (
	Channels Kind = "channels" // by messages published to each channel
	Peers    Kind = "peers"    // by messages published or sent by each peer
)

// periodLayout writes a period as in the keys of package quota.
const periodLayout = "2006-01"

// periodName is the name of the period that begins at start.
func periodName(start time.Time) string { return start.Format(periodLayout) }

// expiry is when everything about the period that now falls in is dropped.
func expiry(now time.Time) time.Time { return quota.Messages(new(apps.App), now).ExpiresAt }

func rankingKey(appID, period string, kind Kind) string {
	return "fw:{" + appID + "}:usage:" + period + ":" + string(kind)
}

// bytesKey is the hash beside the ranking with this key.
func bytesKey(ranking string) string { return ranking + ":bytes" }

func flushedKey(appID, period, recorder string) string {
	return "fw:{" + appID + "}:usage:" + period + ":flushed:" + recorder
}

// peakKey is where package quota keeps the most connections that the app had at once.
func peakKey(appID, period string) string { return "fw:{" + appID + "}:peak:" + period }

// connectionsKey is package quota's hash of connections by node; the zset beside
// it, leasesKey, holds until when (ms) each node's share counts.
func connectionsKey(appID string) string { return "fw:{" + appID + "}:connections" }

func leasesKey(appID string) string { return connectionsKey(appID) + ":leases" }
