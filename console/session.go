package console

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
	"fleetwire/pkg/clientaddr"
	"fleetwire/pkg/protocol"
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

func (c *Console) signIn(w http.ResponseWriter, r *http.Request) *protocol.Error {
	now := c.Now()
	address, countedAs := c.address(r)
	if wait := c.failed.wait(countedAs, now); wait > 0 {
		setRetryAfter(w, wait)
		return protocol.Errorf(protocol.RateLimited, "over %d failed sign-ins a minute from this address; wait as long as Retry-After says", maxFailures)
	}
	body, whole := readShort(w, r)
	if !whole {
		return nil // answered
	}
	credential, err := readCredential(r, body)
	if err != nil {
		return err
	}
	key, err := auth.Authenticate(c.Apps.Current(), "Bearer "+credential)
	if err != nil {
		if tell, untold := c.failed.count(countedAs, now); tell {
			c.Log.Warn("a sign-in to the console failed", "address", address, "untold", untold)
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

// readShort reads a body that comes from strangers. It answers itself if there is none in its bounds,
// and is false then.
func readShort(w http.ResponseWriter, r *http.Request) (body []byte, whole bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, auth.MaxSignInBytes))
	switch _, long := errors.AsType[*http.MaxBytesError](err); {
	case long || r.ContentLength > auth.MaxSignInBytes: // a node does not even begin to read that
		write(w, http.StatusRequestEntityTooLarge, protocol.AppendErrorBody(nil, protocol.Errorf(protocol.InvalidRequest, "the body is larger than %d bytes, the most that is taken", auth.MaxSignInBytes)))
	case err != nil:
		writeError(w, protocol.Errorf(protocol.InvalidRequest, "the body ended before it was complete; send it whole"))
	default:
		return body, true
	}
	return nil, false
}

// readCredential reads {"key":"…"}. No error shows what was sent.
func readCredential(r *http.Request, body []byte) (credential string, refused *protocol.Error) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		return "", protocol.Errorf(protocol.InvalidRequest, "the Content-Type must be application/json")
	}
	err := protocol.ScanObject(body, func(name string, value []byte) (err error) {
		if name != "key" || credential != "" {
			return errors.New("another field")
		}
		credential, err = protocol.DecodeString(value)
		return err
	})
	if err != nil || credential == "" {
		return "", protocol.Errorf(protocol.InvalidRequest, `the body must be {"key":"…"} with a secret key in it`)
	}
	return credential, nil
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
