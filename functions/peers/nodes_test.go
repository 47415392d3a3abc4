package peers

import (
	"errors"
	"slices"
	"testing"

	"fleetwire/functions/internal/apitest"
)

func TestNodes(t *testing.T) {
	for name, tt := range map[string]struct {
		book   book
		target string
		key    string
		status int
		body   string
	}{
		"sorted":           {book{reports: []string{`{"node":"b","messages":1}`, `{"node":"a"}`}}, "/v1/nodes", "", 200, `{"nodes":[{"node":"a"},{"node":"b","messages":1}],"unanswered":0}`},
		"some are silent":  {book{unanswered: 2}, "/v1/nodes", "", 200, `{"nodes":[],"unanswered":2}`},
		"without Redis":    {book{err: errors.New("10.0.0.7")}, "/v1/nodes", "", 503, `{"error":"backend_error","message":"the nodes could not be asked; try again","outcome":"none"}`},
		"a parameter":      {book{}, "/v1/nodes?app=other", "", 400, `{"error":"invalid_request","message":"there is no parameter \"app\"; this path takes none"}`},
		"without presence": {book{}, "/v1/nodes", apitest.NarrowID + ":" + apitest.Narrow, 403, `{"error":"action_not_permitted","message":"this credential does not allow presence"}`},
		"a viewer":         {book{}, "/v1/nodes", apitest.ViewerID + ":" + apitest.Viewer, 200, `{"nodes":[],"unanswered":0}`},
	} {
		t.Run(name, func(t *testing.T) {
			config, _ := apitest.Config(t)
			r := apitest.Request("GET", tt.target, "")
			if tt.key != "" {
				r.Header.Set("Authorization", "Bearer "+tt.key)
			}
			apitest.Want(t, apitest.Do(NewNodes(config, &tt.book), r), tt.status, tt.body)
			if asked := slices.Contains(tt.book.asked, "report app_demo"); asked != (tt.status == 200 || tt.status == 503) {
				t.Errorf("asked %q", tt.book.asked)
			}
		})
	}
}
