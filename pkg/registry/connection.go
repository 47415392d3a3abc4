package registry

// Connection is a connection of a peer, as its node tells of it.
type Connection struct {
	ID            string   `json:"id"`
	Node          string   `json:"node,omitempty"`
	Protocol      string   `json:"protocol"`
	Address       string   `json:"address,omitempty"`
	ConnectedAt   int64    `json:"connectedAt"` // unix milliseconds
	UserAgent     string   `json:"userAgent,omitempty"`
	Subscriptions []string `json:"subscriptions"` // channels and patterns, as they were asked for
}
