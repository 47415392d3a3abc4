package redisconn

import "github.com/redis/go-redis/v9"

// Pipelines is the hook that has pipelines share round trips.
type Pipelines = pipelines

// NewPipelines returns one.
var NewPipelines = newPipelines

// Waiting is how many pipelines wait for the round trip under way to end.
func (s *pipelines) Waiting() int { return s.trips.Waiting() }

// Location is what a URL says.
type Location struct {
	Options  *redis.Options
	Addrs    []string
	Sentinel string // the primary's name, user and password for Sentinels
}

// Locate reads a URL.
func Locate(url string) (Location, error) {
	l, err := locate(url)
	if err != nil {
		return Location{}, err
	}
	shown := Location{Options: l.opt, Addrs: l.addrs}
	if s := l.sentinel; s != nil {
		shown.Sentinel = s.primary + " " + s.user + " " + s.password
	}
	return shown, nil
}

// HideAddress is what the dial hook does with an error.
var HideAddress = hideAddress

// GateOf is the hook of the client of a cluster's node.
func GateOf(h *Health, addr string) redis.Hook { return gate{h.masters, addr} }

const ProbeTimeout = probeTimeout

// Sleep is what waits between two tries of a command whose slot moves, and MostPause the longest wait.
var Sleep = sleep

const MostPause = mostPause
