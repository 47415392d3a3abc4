package session

import (
	"fleetwire/clients/go/channel"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// coverage says which of a connection's subscriptions a grant covers. Finding that out
// can take half a millisecond, for which the scope must not be locked: the loop waits
// for the lock when the next frame comes.
type coverage struct {
	grant  *auth.Grant
	effort channel.Effort
	covers map[string]bool
	open   []subscription // not checked yet
}

func newCoverage(g *auth.Grant) *coverage {
	return &coverage{grant: g, effort: channel.MaxEffort, covers: map[string]bool{}}
}

// complete says whether each of the subscriptions is checked. It is called with the
// scope locked. check checks the others.
func (v *coverage) complete(all subscriptions) bool {
	v.open = v.open[:0]
	for _, one := range all {
		if _, checked := v.covers[one.name]; !checked {
			v.open = append(v.open, one)
		}
	}
	return len(v.open) == 0
}

// check is called without the lock. Once the effort is exhausted, the rest is not covered.
func (v *coverage) check() {
	for _, one := range v.open {
		v.covers[one.name] = v.grant.Still(apps.ActionSubscribe, one.name, one.pattern, &v.effort)
	}
}
