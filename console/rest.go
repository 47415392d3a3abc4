package console

import (
	"net/http"
	"strings"

	"fleetwire/clients/go/protocol"
)

// api has the REST handler answer a request of the page, in the name of the key that is signed in.
// Whatever that key may not do is refused there.
func (c *Console) api(w http.ResponseWriter, r *http.Request) *protocol.Error {
	if err := sameOrigin(r); err != nil {
		return err
	}
	key, _, err := c.signedIn(r)
	if err != nil {
		return err
	}
	inner := r.Clone(r.Context())
	inner.URL.Path = strings.TrimPrefix(r.URL.Path, apiPrefix)
	inner.URL.RawPath = strings.TrimPrefix(r.URL.RawPath, apiPrefix)
	inner.RequestURI = strings.TrimPrefix(r.RequestURI, apiPrefix)
	inner.Header.Del("Cookie")
	inner.Header.Set("Authorization", "Bearer "+key.ID+":"+key.Secret)
	c.REST.ServeHTTP(w, inner) // w itself, so that streams flush and a hang-up is noticed
	return nil
}
