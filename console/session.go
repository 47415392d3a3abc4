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
		c.setCookie(w, r, "", -1)
		w.WriteHeader(http.StatusNoContent)
		return nil
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
		tell, untold := c.failed.count(countedAs, now)
		if untold > 0 {
			c.Log.Warn("more sign-ins to the console failed in one minute than were logged", "more", untold)
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

func (c *Console) setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: auth.SessionCookie, Value: value, Path: "/console/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil || clientaddr.HTTPS(remote(r), r.Header, c.TrustedProxies),
	})
	w.Header().Set("Cache-Control", "no-store")
}

// signedIn is the key that a request's session was begun with, and when that ends.
func (c *Console) signedIn(r *http.Request) (*apps.Key, time.Time, *protocol.Error) {
	key, expiresAt, ok := auth.VerifySession(c.Apps.Current(), r.Header, c.Now())
	if !ok {
		return nil, time.Time{}, auth.NoSession()
	}
	return key, expiresAt, notSuspended(key)
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
