package auth

import (
	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
)

// Rebind gives what the grant of a live connection has become under another apps
// document (protocol §7): the same claims, with the plan, the limits and the scope
// that its app and its key have now. It is g itself where nothing changed for it.
//
// The refusals are the codes to close the connection with. 4001 and 4012 are final
// for clients: the app is gone or suspended, or the publishable key is gone, which
// no new token cures. 4002 has a client get a new token: the secret key is gone, or
// has another secret, and the app's token server signs with the next one.
func (g *Grant) Rebind(dir *apps.Directory) (*Grant, *protocol.CloseError) {
	app, exists := dir.App(g.App.ID)
	key, known := dir.Key(g.Key.ID)
	switch {
	case !exists:
		return nil, protocol.Closef(protocol.CloseInvalidCredential, "the app %s does not exist any more", g.App.ID)
	case app.Suspended: // comes first: a new token would be refused as well
		return nil, protocol.Closef(protocol.CloseSuspended, "")
	case !known || key.App.ID != g.App.ID || key.Role == apps.RoleViewer:
		return nil, protocol.Closef(g.revokedCode(), "revoked: key %s", g.Key.ID)
	case key.Secret != g.Key.Secret:
		return nil, protocol.Closef(protocol.CloseExpired, "revoked: the former secret of key %s", g.Key.ID)
	case key.Equal(g.Key):
		return g, nil
	}
	bound := *g
	bound.App, bound.Key, bound.Actions = key.App, key, within(key.Actions, g.claimed)
	return bound.For(g.Origin)
}

// revokedCode is the code for a connection whose key is gone. Behind a token is a
// token server, which can sign another; a publishable key is all that its client has.
func (g *Grant) revokedCode() protocol.CloseCode {
	if g.Key.Publishable() {
		return protocol.CloseInvalidCredential
	}
	return protocol.CloseExpired
}
