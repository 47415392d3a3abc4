package auth

import (
	"fleetwire/pkg/apps"
	"fleetwire/pkg/protocol"
)

// Rebind gives what the grant of a live connection has become under another apps
// document (protocol §7): the same claims, with the plan, the limits and the scope
// that its app and its key have now. It is g itself where nothing changed for it.
//
// The refusals are what the connection is to be closed with: 4001 when the app or
// the key is gone, or the key's secret is another and what it signed void; 4012
// when the app is suspended.
func (g *Grant) Rebind(dir *apps.Directory) (*Grant, *protocol.CloseError) {
	key, known := dir.Key(g.Key.ID)
	switch _, exists := dir.App(g.App.ID); {
	case !exists:
		return nil, protocol.Closef(protocol.CloseInvalidCredential, "the app %s does not exist any more", g.App.ID)
	case !known || key.App.ID != g.App.ID:
		return nil, protocol.Closef(protocol.CloseInvalidCredential, "revoked: key %s", g.Key.ID)
	case key.Secret != g.Key.Secret:
		return nil, protocol.Closef(protocol.CloseInvalidCredential, "revoked: the former secret of key %s", g.Key.ID)
	case key.App.Suspended:
		return nil, protocol.Closef(protocol.CloseSuspended, "")
	case key.Equal(g.Key):
		return g, nil
	}
	bound := *g
	bound.App, bound.Key, bound.Actions = key.App, key, within(key.Actions, g.claimed)
	return bound.For(g.Origin)
}
