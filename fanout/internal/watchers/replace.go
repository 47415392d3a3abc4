package watchers

import (
	"slices"
	"time"
	"weak"

	"fleetwire/pkg/presence"
)

// replace makes the view what Redis has. As long as that is requested it is frozen: it is
// compared without the lock, and then changed in parts.
func (ws *Watchers) replace(a loadRequest, state *presence.State) {
	v, there := a.view, byPeer(state.Members)
	var before map[string]string
	var settling bool
	if !ws.ifRequested(a, func() {
		settling = ws.settles(v, state.Version)
		if len(v.members) == 0 && !v.hasShown() {
			v.members, v.shown = there, weak.Pointer[byte]{}
		}
		before = v.members
	}) {
		return
	}
	for part := range slices.Chunk(compare(before, there, settling), appliedAtOnce) {
		if !ws.ifRequested(a, func() { ws.setAll(v, part) }) {
			return
		}
	}
	if ws.ifRequested(a, func() { ws.loadedAs(v, state.Version) }) {
		ws.catchUp(v)
	}
}

// ifRequested does something with the lock held, if the load is still requested.
func (ws *Watchers) ifRequested(a loadRequest, do func()) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if a.view.round != a.round {
		return false
	}
	do()
	return true
}

// settles says whether peers that are not in Redis stay in the view.
func (ws *Watchers) settles(v *view, version presence.Version) bool {
	now := time.Now()
	if v.version.Incarnation != version.Incarnation && len(v.members) > 0 {
		ws.lose(v, now)
	}
	settling := now.Before(v.settled)
	if !settling {
		v.settled = time.Time{}
	}
	return settling
}

// lose has the peers of a view that Redis has lost stay for a while. If Redis loses them
// again meanwhile they stay for longer, but a channel that is empty now and then does not
// keep them for ever.
func (ws *Watchers) lose(v *view, now time.Time) {
	if v.settled.IsZero() {
		v.settledAtLast = now.Add(2 * ws.settling)
	}
	v.settled = now.Add(ws.settling)
	if v.settled.After(v.settledAtLast) {
		v.settled = v.settledAtLast
	}
	ws.lost = append(ws.lost, lost{v, v.settled})
	ws.loading.Set()
}

// loadedAs ends the request to load the view. Announcements that have waited come next, and
// then newcomers get their snapshot.
func (ws *Watchers) loadedAs(v *view, version presence.Version) {
	v.version, v.loaded, v.requested, v.applied = version, true, false, 0
	if len(v.newcomers) > 0 && v.current() {
		ws.openFor(v)
	}
}

// compare tells how those who were there become those who are. With settling, the others
// have not left: they may still be stated.
func compare(were, are map[string]string, settling bool) (differences []presence.Change) {
	for peer, metadata := range are {
		if had, present := were[peer]; !present || had != metadata {
			differences = append(differences, presence.Change{Kind: presence.Joined, Member: presence.Member{Peer: peer, Metadata: metadata}})
		}
	}
	if settling {
		return differences
	}
	for peer := range were {
		if _, present := are[peer]; !present {
			differences = append(differences, presence.Change{Kind: presence.Left, Member: presence.Member{Peer: peer}})
		}
	}
	return differences
}

func byPeer(members []presence.Member) map[string]string {
	all := make(map[string]string, len(members))
	for _, m := range members {
		all[m.Peer] = m.Metadata
	}
	return all
}
