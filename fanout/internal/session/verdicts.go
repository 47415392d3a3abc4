package session

import (
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/channel"
)

// verdicts tell which of a connection's subscriptions a grant covers. Finding that out
// can take half a millisecond, for which the scope must not be locked: the loop waits
// for the lock when the next frame comes.
type verdicts struct {
	grant  *auth.Grant
	effort channel.Effort
	covers map[string]bool
	open   []subscription // not judged yet
}

func newVerdicts(g *auth.Grant) *verdicts {
	return &verdicts{grant: g, effort: channel.MaxEffort, covers: map[string]bool{}}
}

// complete says whether there is a verdict on each of the subscriptions. It is called
// with the scope locked. judge gives the missing ones.
func (v *verdicts) complete(all subscriptions) bool {
	v.open = v.open[:0]
	for _, one := range all {
		if _, judged := v.covers[one.name]; !judged {
			v.open = append(v.open, one)
		}
	}
	return len(v.open) == 0
}

// judge is called without the lock. Once the effort is exhausted the verdict is no.
func (v *verdicts) judge() {
	for _, one := range v.open {
		v.covers[one.name] = v.grant.Still(apps.ActionSubscribe, one.name, one.pattern, &v.effort)
	}
}
