package console

import (
	"strings"
	"testing"

	"fleetwire/pkg/apps"
)

// GET /console/groups lists the groups of the session's app that its key may subscribe to, and no
// secret of a sink.
func TestGroups(t *testing.T) {
	s := newSite(t)
	cookie := s.signIn(keyA)
	want(t, s.do("GET", "/console/groups", "", cookie), 200, `{"groups":[]}`)
	s.Apps.Replace(directory(t, strings.Replace(document, `"id":"app_a",`, `"id":"app_a","groups":[
		{"name":"ingest","patterns":["devices/*/events","devices/*/log/**"]},
		{"name":"foreign","patterns":["devices/*/events","log/**"]},
		{"name":"crm","patterns":["devices/*/alarms"],"sink":{"type":"webhook","url":"https://crm.example.com/","secrets":["env:CRM_SECRET"]}}],`, 1)))
	want(t, s.do("GET", "/console/groups", "", cookie), 200,
		`{"groups":[{"name":"ingest","patterns":["devices/*/events","devices/*/log/**"]},{"name":"crm","patterns":["devices/*/alarms"],"sink":"webhook"}]}`)
	want(t, s.do("POST", "/console/groups", "{}", cookie), 405, "GET, HEAD")
	want(t, s.do("GET", "/console/groups", ""), 401, `"unauthorized"`)
	want(t, s.do("GET", "/console/groups", "", cookie, "Sec-Fetch-Site: cross-site"), 403, `"action_not_permitted"`)
}

// A viewer signs in, and the session and the list of keys say what it is.
func TestViewerSignsIn(t *testing.T) {
	s := newSite(t)
	s.Apps.Replace(directory(t, strings.Replace(document, `"id":"sk_a",`, `"id":"sk_a","role":"viewer",`, 1)))
	cookie := s.signIn(keyA)
	want(t, s.do("GET", "/console/session", "", cookie), 200, `"role":"`+apps.RoleViewer.String()+`"`)
	want(t, s.do("GET", "/console/keys", "", cookie), 200, `"role":"viewer"`)
}
