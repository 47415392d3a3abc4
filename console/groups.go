package console

import (
	"net/http"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// shownGroup is a group of the app's document as the console lists it. REST shows how it does.
type shownGroup struct {
	Name     string        `json:"name"`
	Patterns []string      `json:"patterns"`
	Sink     apps.SinkType `json:"sink,omitempty"`
}

// groups shows the groups of the app that the key may see, in the order of its document. REST has no
// list of them: a program knows the groups that it works for, and a person who looks does not.
func (c *Console) groups(w http.ResponseWriter, r *http.Request) *protocol.Error {
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
	grant := auth.KeyGrant(key, "", nil)
	list := make([]shownGroup, 0, len(key.App.Groups))
	for _, g := range key.App.Groups {
		if grant.CheckGroup(g) != nil {
			continue
		}
		shown := shownGroup{Name: g.Name, Patterns: []string{}}
		for _, pattern := range g.Patterns {
			shown.Patterns = append(shown.Patterns, pattern.String())
		}
		if g.Sink != nil {
			shown.Sink = g.Sink.Type
		}
		list = append(list, shown)
	}
	return writeJSON(w, struct {
		Groups []shownGroup `json:"groups"`
	}{list})
}
