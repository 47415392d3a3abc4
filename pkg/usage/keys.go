package usage

import "time"

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
