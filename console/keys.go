package console

import (
	"net/http"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// shownKey is a key as the console shows it: what it may do, and never its secret.
type shownKey struct {
	ID              string        `json:"id"`
	Kind            string        `json:"kind"`
	Role            string        `json:"role"`
	ChannelPatterns []string      `json:"channelPatterns"`
	Actions         []apps.Action `json:"actions"`
	AllowedOrigins  []string      `json:"allowedOrigins"`
}

func showKey(key *apps.Key) shownKey {
	shown := shownKey{ID: key.ID, Kind: "secret", Role: key.Role.String(), ChannelPatterns: []string{}, Actions: key.Actions.List(), AllowedOrigins: []string{}}
	if key.Publishable() {
		shown.Kind = "publishable"
	}
	for _, pattern := range key.Patterns {
		shown.ChannelPatterns = append(shown.ChannelPatterns, pattern.String())
	}
	for _, origin := range key.AllowedOrigins {
		shown.AllowedOrigins = append(shown.AllowedOrigins, origin.String())
	}
	return shown
}

// keys shows the keys of the app, in the order of its document.
func (c *Console) keys(w http.ResponseWriter, r *http.Request) *protocol.Error {
	if err := takes(w, r, http.MethodGet); err != nil {
		return err
	}
	if err := sameOrigin(r); err != nil {
		return err
	}
	key, _, err := c.signedIn(r)
	if err != nil {
		return err
	}
	list := make([]shownKey, 0, len(key.App.Keys))
	for _, k := range key.App.Keys {
		shown := showKey(k)
		shown.ID = auth.ShownID(k, key)
		list = append(list, shown)
	}
	return writeJSON(w, struct {
		Keys []shownKey `json:"keys"`
	}{list})
}
