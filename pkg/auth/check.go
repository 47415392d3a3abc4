package auth

import (
	"slices"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// Check reports why the grant does not allow the action on the channel, or nil. It
// makes the checks of protocol §4.4 from the name to the authorization, in their order,
// for sockets and REST alike. It does not allocate unless it refuses.
func (g *Grant) Check(action apps.Action, name string) *protocol.Error {
	if err := channel.ValidateName(name); err != nil {
		return protocol.Errorf(protocol.InvalidChannel, "%v", err)
	}
	if refused := g.checkAction(action, name); refused != nil {
		return refused
	}
	if !anyMatches(g.Key.Patterns, name) || g.Patterns != nil && !anyMatches(g.Patterns, name) {
		return protocol.Errorf(protocol.ChannelNotAuthorized, "this credential does not cover the channel %q", name)
	}
	return nil
}

// CheckPattern is Check for all channels that a pattern matches: one claimed pattern
// and one key pattern must each cover it (protocol §4.2). It returns the compiled pattern.
func (g *Grant) CheckPattern(action apps.Action, pattern string) (*channel.Pattern, *protocol.Error) {
	p, err := channel.Compile(pattern)
	if err != nil {
		return nil, protocol.Errorf(protocol.InvalidChannel, "%v", err)
	}
	if refused := g.checkAction(action, pattern); refused != nil {
		return nil, refused
	}
	effort := channel.MaxPatternEffort
	switch {
	case g.Still(action, pattern, p, &effort):
		return p, nil
	case effort.IsExhausted():
		return nil, protocol.Errorf(protocol.ChannelNotAuthorized, "the pattern %q takes too long to check against this credential; subscribe to one with fewer wildcards", pattern)
	default:
		return nil, protocol.Errorf(protocol.ChannelNotAuthorized, "this credential does not cover all of the pattern %q; one claimed pattern and one pattern of the key must each cover all of it", pattern)
	}
}

// checkAction makes the checks that names and patterns have in common.
func (g *Grant) checkAction(action apps.Action, name string) *protocol.Error {
	if channel.IsReserved(name) {
		if action == apps.ActionSubscribe && channel.NamesConnectivity(name) && g.namesConnectivity() {
			return g.checkConnectivity()
		}
		return protocol.Errorf(protocol.ChannelReserved, "channels beginning with _metered/, _internal/ or _system/ are reserved")
	}
	if !g.Can(action) {
		return NotPermitted(action)
	}
	return nil
}

// namesConnectivity reports whether both the key and the token have a pattern that begins literally with
// _system/connectivity/ (protocol §4.6).
func (g *Grant) namesConnectivity() bool {
	names := func(p *channel.Pattern) bool { return channel.NamesConnectivity(p.String()) }
	return slices.ContainsFunc(g.Key.Patterns, names) && (g.Patterns == nil || slices.ContainsFunc(g.Patterns, names))
}

// checkConnectivity checks the actions that watching peers takes.
func (g *Grant) checkConnectivity() *protocol.Error {
	for _, action := range []apps.Action{apps.ActionSubscribe, apps.ActionPresence} {
		if !g.Can(action) {
			return NotPermitted(action)
		}
	}
	return nil
}

// CheckGroup reports why the grant may not see what waits for a group, or nil: it must be allowed to
// subscribe to all of it.
func (g *Grant) CheckGroup(group *apps.Group) *protocol.Error {
	for _, p := range group.Patterns {
		if _, refused := g.CheckPattern(apps.ActionSubscribe, p.String()); refused != nil {
			return refused
		}
	}
	return nil
}

// CheckPeer reports why the grant does not allow the action on the peer, or nil.
func (g *Grant) CheckPeer(action apps.Action, peer string) *protocol.Error {
	if !protocol.ValidPeerID(peer) {
		return protocol.Errorf(protocol.InvalidPeerID, "to is no peer id: it must be 1–%d printable ASCII characters", protocol.MaxPeerIDBytes)
	}
	if !g.Can(action) {
		return NotPermitted(action)
	}
	return nil
}

// NotPermitted is the refusal of an action that a credential does not have.
func NotPermitted(action apps.Action) *protocol.Error {
	return protocol.Errorf(protocol.ActionNotPermitted, "this credential does not allow %s", action)
}

// ViewerOnly is the refusal of a request that changes something, with a viewer's key.
func ViewerOnly(key *apps.Key) *protocol.Error {
	return protocol.Errorf(protocol.ActionNotPermitted, "key %s has the role viewer, which only reads; use a key without that role", key.ID)
}

// Sees reports whether the grant's patterns cover a channel or pattern that somebody
// is subscribed to. Many calls share one effort; once that is exhausted, it says no.
func (g *Grant) Sees(name string, effort *channel.Effort) bool {
	if !channel.IsPattern(name) {
		return g.covers(name, nil, effort)
	}
	p, err := channel.Compile(name)
	return err == nil && g.covers(name, p, effort)
}

// Still reports whether the grant allows what Check or CheckPattern allowed with
// another grant. pattern is nil for a channel. Many calls share one effort; once that
// is exhausted, Still says no.
func (g *Grant) Still(action apps.Action, name string, pattern *channel.Pattern, effort *channel.Effort) bool {
	if channel.NamesConnectivity(name) && g.checkConnectivity() != nil {
		return false
	}
	return g.Can(action) && g.covers(name, pattern, effort)
}

func (g *Grant) covers(name string, pattern *channel.Pattern, effort *channel.Effort) bool {
	covers := func(patterns []*channel.Pattern) bool {
		if pattern != nil {
			return channel.CoveredBy(patterns, pattern, effort)
		}
		return channel.MatchedBy(patterns, name, effort)
	}
	return covers(g.Key.Patterns) && (g.Patterns == nil || covers(g.Patterns))
}

// WatchesConnectivity reports whether one of the key's patterns names the connectivity
// of all peers: it covers _system/connectivity/**, and begins so literally.
func WatchesConnectivity(key *apps.Key) bool {
	for _, p := range key.Patterns {
		if channel.NamesConnectivity(p.String()) && p.Covers(allConnectivity) {
			return true
		}
	}
	return false
}

var allConnectivity, _ = channel.Compile(channel.ConnectivityPrefix + "**")
