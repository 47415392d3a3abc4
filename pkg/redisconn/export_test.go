package redisconn

// Pipelines is the hook that has pipelines share round trips.
type Pipelines = pipelines

// NewPipelines returns one.
var NewPipelines = newPipelines

// Waiting is how many pipelines wait for the round trip under way to end.
func (s *pipelines) Waiting() int { return s.trips.Waiting() }

// HideAddress is what the dial hook does with an error.
var HideAddress = hideAddress
