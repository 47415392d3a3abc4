package publish

import (
	"sync"
	"time"

	"fleetwire/pkg/apps"
)

// overRateMemory is for how long a key that was over its rate is expected to be
// so again.
const overRateMemory = time.Second

// overRate remembers which keys were over their rate lately. Their requests ask
// for their tokens ahead: a backend that runs wild must not send all its
// messages to Redis only to have them refused there.
type overRate struct{ keys sync.Map } // key id → until when (time.Time)

func (o *overRate) note(key *apps.Key, now time.Time) {
	o.keys.Store(key.ID, now.Add(overRateMemory))
}

func (o *overRate) lately(key *apps.Key, now time.Time) bool {
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
