package protocol

// Position is a place in what a channel remembers (protocol §9). Offsets count a channel's
// messages from 1, without holes within an epoch.
type Position struct {
	Epoch  string `json:"epoch"`
	Offset uint64 `json:"offset"`
}
