// Package doctor examines a deployment from outside, and its Redis, and says what to do about
// what it finds.
package doctor

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/client"
)

// Finding is what one check has found.
type Finding struct {
	Check  string  `json:"check"`
	Result Verdict `json:"result"`
	Found  string  `json:"found"`
	Todo   string  `json:"todo,omitempty"`
}

// Verdict is how good that is.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Warning Verdict = "warning" // it works, and will hurt
	Fault   Verdict = "fault"
	Skipped Verdict = "skipped" // it could not be looked at
)

// Doctor examines.
type Doctor struct {
	Service *client.REST
	Redis   redis.UniversalClient // nil: is not looked at
	NoRedis bool                  // Redis could not be opened, which is told already
	Ops     string                // URL of a node's operations address; "": is not looked at
	Now     func() time.Time
	Tell    func(Finding) error // is called with each finding, as it is made
	failed  error
}

// Run makes all checks. An error is that of Tell, or ctx's.
func (d *Doctor) Run(ctx context.Context) error {
	for _, examine := range []func(context.Context){d.rest, d.socket, d.ops, d.redis, d.files} {
		examine(ctx)
		if d.failed != nil {
			return d.failed
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Doctor) tell(check string, result Verdict, found, todo string) {
	if d.failed == nil {
		d.failed = d.Tell(Finding{check, result, found, todo})
	}
}
