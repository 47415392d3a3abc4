package auth

import (
	"fleetwire/clients/go/channel"
	"fleetwire/pkg/apps"
)

// ShownID is the id of a key of the app, as it is shown to the holder of another. The id of a
// publishable key is all that it takes to connect. So it is cut for those who may not do what that
// key may: a viewer could publish with it.
func ShownID(of, to *apps.Key) string {
	if !of.Publishable() || mayAll(to, of) {
		return of.ID
	}
	return of.ID[:len(of.ID)/3] + "…"
}

// mayAll says whether a key may do everything that another may.
func mayAll(key, other *apps.Key) bool {
	if key.Role == apps.RoleViewer || !key.Actions.Contains(other.Actions) {
		return false
	}
	grant, effort := KeyGrant(key, "", nil), channel.MaxPatternEffort
	for _, p := range other.Patterns {
		if !grant.Sees(p.String(), &effort) {
			return false
		}
	}
	return true
}
