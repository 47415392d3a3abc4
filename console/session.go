package console

import (
	"net/http"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/clientaddr"
)

// session serves signing in, signing out, and who is signed in.
func (c *Console) session(w http.ResponseWriter, r *http.Request) *protocol.Error {
	if err := takes(w, r, http.MethodGet, http.MethodPost, http.MethodDelete); err != nil {
		return err
	}
	if err := sameOrigin(r); err != nil {
		return err
	}
	switch r.Method {
	case http.MethodPost:
		return c.signIn(w, r)
	case http.MethodDelete:
		return c.signOut(w, r)
	}
	return c.show(w, r)
}

// signIn takes the key from the Authorization header, as the routes do, and no body: a node reads no
// body of a stranger (door.beforeBody), so that none can take the room that others' bodies have.
func (c *Console) signIn(w http.ResponseWriter, r *http.Request) *protocol.Error {
	now := c.Now()
	address, countedAs := c.address(r)
	if wait := c.failed.wait(countedAs, now); wait > 0 {
		setRetryAfter(w, wait)
		return protocol.Errorf(protocol.RateLimited, "over %d failed sign-ins a minute from this address; wait as long as Retry-After says", maxFailures)
	}
	if len(r.Header.Values("Authorization")) > 1 {
		return protocol.Errorf(protocol.InvalidRequest, "the request has two Authorization headers; send one")
	}
	key, err := auth.Authenticate(c.Apps.Current(), r.Header.Get("Authorization"))
	if err != nil {
		tell, unlogged := c.failed.count(countedAs, now)
		if unlogged > 0 {
			c.Log.Warn("more sign-ins to the console failed in one minute than were logged", "more", unlogged)
		}
		if tell {
			c.Log.Warn("a sign-in to the console failed", "address", address)
		}
		return protocol.Errorf(protocol.Unauthorized, "this is no secret key of the service; paste one whole, as in sk_live_…_secret_…")
	}
	if err := notSuspended(key); err != nil {
		return err
	}
	session, failed := auth.MintSession(key, now)
	if failed != nil {
		return protocol.Errorf(protocol.InternalError, "the session could not be signed")
	}
	c.Log.Info("signed in to the console", "app", key.App.ID, "key", key.ID, "address", address)
	c.setCookie(w, r, session, int(auth.SessionLife/time.Second))
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// signOut takes the session from the browser, and ends it, so that a copy of the cookie is worth nothing.
func (c *Console) signOut(w http.ResponseWriter, r *http.Request) *protocol.Error {
	c.setCookie(w, r, "", -1)
	now := c.Now()
	if session, ok := auth.VerifySession(c.Apps.Current(), r.Header, now); ok {
		if err := c.Sessions.End(r.Context(), &session, now); err != nil {
			c.Log.Error("a session of the console could not be ended", "app", session.Key.App.ID, "key", session.Key.ID, "err", err)
			return protocol.Errorf(protocol.BackendError, "this browser is signed out, but Redis does not answer, so a copy of the session would work until it expires; sign in and out again later if there may be one")
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (c *Console) setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: auth.SessionCookie, Value: value, Path: "/console/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil || clientaddr.HTTPS(remote(r), r.Header, c.TrustedProxies),
	})
	w.Header().Set("Cache-Control", "no-store")
}

// signedIn is the key that a request's session was begun with, and when that ends.
func (c *Console) signedIn(r *http.Request) (*apps.Key, time.Time, *protocol.Error) {
	session, ok := auth.VerifySession(c.Apps.Current(), r.Header, c.Now())
	if !ok {
		return nil, time.Time{}, auth.NoSession()
	}
	switch ended, err := c.Sessions.Ended(r.Context(), &session); {
	case err != nil:
		c.Log.Error("a session of the console could not be looked up", "app", session.Key.App.ID, "err", err)
		return nil, time.Time{}, protocol.Errorf(protocol.BackendError, "Redis does not answer, so it is not known whether the session was signed out of; try again")
	case ended:
		return nil, time.Time{}, auth.NoSession()
	}
	return session.Key, session.ExpiresAt, notSuspended(session.Key)
}

func notSuspended(key *apps.Key) *protocol.Error {
	if key.App.Suspended {
		return protocol.Errorf(protocol.AccountSuspended, "app %s is suspended; its keys work again when an operator lifts that", key.App.ID)
	}
	return nil
}

// show says who is signed in.
func (c *Console) show(w http.ResponseWriter, r *http.Request) *protocol.Error {
	key, expiresAt, err := c.signedIn(r)
	if err != nil {
		return err
	}
	shown := showKey(key)
	return writeJSON(w, struct {
		App             string        `json:"app"`
		Key             string        `json:"key"`
		Role            string        `json:"role"`
		ChannelPatterns []string      `json:"channelPatterns"`
		Actions         []apps.Action `json:"actions"`
		ExpiresAt       int64         `json:"expiresAt"` // unix seconds
	}{key.App.ID, key.ID, shown.Role, shown.ChannelPatterns, shown.Actions, expiresAt.Unix()})
}
