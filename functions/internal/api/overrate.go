package api

import (
	"sync"
	"time"

	"fleetwire/pkg/apps"
)

// overRateMemory is for how long a key that was over its rate is expected to be
// so again.
const overRateMemory = time.Second

// OverRate remembers which keys were over their rate lately. Their requests ask
// for their tokens ahead: a backend that runs wild must not send all its
// messages to Redis only to have them refused there.
type OverRate struct{ keys sync.Map } // key id → until when (time.Time)

// Note notes that the key is over its rate.
func (o *OverRate) Note(key *apps.Key, now time.Time) {
	o.keys.Store(key.ID, now.Add(overRateMemory))
}

// Lately says whether the key was over its rate within the last second.
func (o *OverRate) Lately(key *apps.Key, now time.Time) bool {
	until, ok := o.keys.Load(key.ID)
	if !ok {
		return false
	}
	if now.Before(until.(time.Time)) {
		return true
	}
	o.keys.Delete(key.ID)
	return false
}
