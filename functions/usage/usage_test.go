package usage

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"fleetwire/clients/go/channel"
	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/usage"
)

func TestMain(m *testing.M) { redistest.VerifyTestMain(m) }

var _ Reader = (*usage.Reader)(nil)

// book records what it is asked and answers as set.
type book struct {
	report usage.Report
	page   usage.Page
	err    error
	asked  []string
}

func (b *book) Report(_ context.Context, app *apps.App) (usage.Report, error) {
	b.asked = append(b.asked, app.ID)
	return b.report, b.err
}

func (b *book) Top(_ context.Context, appID string, kind usage.Kind, pattern *channel.Pattern, limit int, cursor string) (usage.Page, error) {
	text := "all"
	if pattern != nil {
		text = pattern.String()
	}
	b.asked = append(b.asked, fmt.Sprintf("%s %s %s %d %q", appID, kind, text, limit, cursor))
	return b.page, b.err
}

func get(t *testing.T, reader Reader, target string) *httptest.ResponseRecorder {
	t.Helper()
	config, log := apitest.Config(t)
	w := apitest.Do(New(config, reader), apitest.Request("GET", target, ""))
	if w.Code < 500 && log.String() != "" {
		t.Errorf("logged: %s", log)
	}
	return w
}

func TestReport(t *testing.T) {
	b := &book{report: usage.Report{
		AppID: "app_demo", PeriodStartUnix: 1767225600, PeriodEndUnix: 1769904000, ConcurrentNow: 7, PeakConcurrent: 132, MessagesUsed: 47813,
		Plan: usage.Plan{Name: "dev", MaxConcurrentConnections: 1000, MaxMessagesPerPeriod: 5000000},
	}}
	apitest.Want(t, get(t, b, "/v1/usage"), 200,
		`{"appId":"app_demo","periodStartUnix":1767225600,"periodEndUnix":1769904000,"concurrentNow":7,"peakConcurrent":132,`+
			`"messagesUsed":47813,"overageMessages":0,"overageConnections":0,`+
			`"plan":{"name":"dev","maxConcurrentConnections":1000,"maxMessagesPerPeriod":5000000,"overagesAllowed":false,"overagesEnabled":false}}`)
	if len(b.asked) != 1 || b.asked[0] != "app_demo" {
		t.Errorf("asked for %q", b.asked)
	}
}

func TestRankings(t *testing.T) {
	page := usage.Page{Entries: []usage.Entry{{Name: `devices/"a"<é>`, Published: 4031, Bytes: 512344}, {Name: "b", Published: 1}}, Next: "Y3Vyc29y"}
	b := &book{page: page}
	apitest.Want(t, get(t, b, "/v1/usage/channels"), 200,
		`{"channels":[{"channel":"devices/\"a\"<é>","published":4031,"bytes":512344},{"channel":"b","published":1,"bytes":0}],"cursor":"Y3Vyc29y"}`)
	page.Next = ""
	b.page = page
	apitest.Want(t, get(t, b, "/v1/usage/peers"), 200,
		`{"peers":[{"peerId":"devices/\"a\"<é>","published":4031,"bytes":512344},{"peerId":"b","published":1,"bytes":0}],"cursor":null}`)
	apitest.Want(t, get(t, &book{}, "/v1/usage/channels"), 200, `{"channels":[],"cursor":null}`)
	apitest.Want(t, get(t, &book{}, "/v1/usage/peers"), 200, `{"peers":[],"cursor":null}`)
	apitest.Want(t, get(t, &book{page: usage.Page{Next: "x"}}, "/v1/usage/peers"), 200, `{"peers":[],"cursor":"x"}`)
}

func TestParameters(t *testing.T) {
	for query, want := range map[string]string{
		"": `all 100 ""`,
		"?pattern=devices/*/events&limit=100&cursor=": `devices/*/events 100 ""`, // protocol §5, to the letter
		"?pattern=devices%2F%2A%2Fevents":             `devices/*/events 100 ""`,
		"?pattern=%5C%2A":                             `\* 100 ""`,
		"?pattern=a+b%2Bc":                            `a b+c 100 ""`,
		"?pattern=_system/**":                         `_system/** 100 ""`,
		"?limit=1":                                    `all 1 ""`,
		"?limit=1000&cursor=Y3Vyc29y-_":               `all 1000 "Y3Vyc29y-_"`,
		"?":                                           `all 100 ""`,
		"?&&cursor=c":                                 `all 100 "c"`,
		"?pattern=" + strings.Repeat("a", 256):        strings.Repeat("a", 256) + ` 100 ""`,
		"?cursor=" + url.QueryEscape("\x00'; DROP é "): `all 100 "\x00'; DROP é "`, // for the Reader to refuse
	} {
		for path, kind := range map[string]string{"/v1/usage/channels": "channels", "/v1/usage/peers": "peers"} {
			b := &book{}
			if w := get(t, b, path+query); w.Code != 200 {
				t.Errorf("%s%s: %d %s", path, query, w.Code, w.Body)
				continue
			}
			if want := "app_demo " + kind + " " + want; len(b.asked) != 1 || b.asked[0] != want {
				t.Errorf("%s%s: asked for %q, want %q", path, query, b.asked, want)
			}
		}
	}
}

func TestRefusedParameters(t *testing.T) {
	const limit = "; it must be a whole number of entries from 1 to 1000, in plain digits"
	for query, want := range map[string]string{
		"patern=a":                              `there is no parameter "patern"; the parameters are pattern, limit, cursor`,
		"Pattern=a":                             `there is no parameter "Pattern"; the parameters are pattern, limit, cursor`,
		"limit=1&z=1&period=2026-01":            `there is no parameter "period"; the parameters are pattern, limit, cursor`,
		"=1":                                    `there is no parameter ""; the parameters are pattern, limit, cursor`,
		strings.Repeat("x", 999):                `there is no parameter "` + strings.Repeat("x", 80) + `…"; the parameters are pattern, limit, cursor`,
		"limit=1&limit=1":                       "limit is there twice; send it once",
		"cursor=&cursor=":                       "cursor is there twice; send it once",
		"pattern=a&pattern=b":                   "pattern is there twice; send it once",
		"limit=":                                `limit is ""` + limit,
		"limit":                                 `limit is ""` + limit,
		"limit=0":                               `limit is "0"` + limit,
		"limit=-1":                              `limit is "-1"` + limit,
		"limit=1001":                            `limit is "1001"` + limit,
		"limit=99999999999999999999":            `limit is "99999999999999999999"` + limit,
		"limit=10.0":                            `limit is "10.0"` + limit,
		"limit=1e2":                             `limit is "1e2"` + limit,
		"limit=0x10":                            `limit is "0x10"` + limit,
		"limit=%2B5":                            `limit is "+5"` + limit,
		"limit=007":                             `limit is "007"` + limit,
		"limit=1_0":                             `limit is "1_0"` + limit,
		"limit=%205":                            `limit is " 5"` + limit,
		"limit=%D9%A5":                          `limit is "٥"` + limit,
		"limit=null":                            `limit is "null"` + limit,
		"pattern=":                              "pattern: pattern is empty",
		"pattern=" + strings.Repeat("a", 257):   "pattern: pattern is 257 bytes long; at most 256 are allowed",
		"pattern=a/../b":                        "pattern: pattern has a level",
		"pattern=%FF":                           "pattern: pattern ",
		"pattern=%00":                           "pattern: pattern contains a control character",
		"pattern=%zz":                           `the query cannot be read (invalid URL escape "%zz"); percent-encode what it holds`,
		"pattern=a;b":                           "the query cannot be read (invalid semicolon separator in query); percent-encode what it holds",
		"a=%":                                   `the query cannot be read (invalid URL escape "%"); percent-encode what it holds`,
		strings.Repeat("pattern=a&", 100) + "b": `there is no parameter "b"; the parameters are pattern, limit, cursor`,
	} {
		for _, path := range []string{"/v1/usage/channels", "/v1/usage/peers"} {
			b := &book{}
			w := get(t, b, path+"?"+query)
			begin := string(protocol.AppendErrorBody(nil, protocol.Errorf(protocol.InvalidRequest, "%s", want)))
			if begin = strings.TrimSuffix(begin, `"}`); w.Code != 400 || !strings.HasPrefix(w.Body.String(), begin) {
				t.Errorf("%s?%s: %d %s\nwant 400 %s", path, query, w.Code, w.Body, begin)
			}
			if len(b.asked) != 0 {
				t.Errorf("%s?%s: asked for %q", path, query, b.asked)
			}
		}
	}
	b := &book{}
	apitest.Want(t, get(t, b, "/v1/usage?limit=1"), 400, `{"error":"invalid_request","message":"there is no parameter \"limit\"; this path takes none"}`)
	apitest.Want(t, get(t, b, "/v1/usage?%"), 400, `{"error":"invalid_request","message":"the query cannot be read (invalid URL escape \"%\"); percent-encode what it holds"}`)
	if len(b.asked) != 0 {
		t.Errorf("asked for %q", b.asked)
	}
}

func TestRedisIsAway(t *testing.T) {
	for _, target := range []string{"/v1/usage", "/v1/usage/channels", "/v1/usage/peers"} {
		config, log := apitest.Config(t)
		b := &book{err: errors.New("dial tcp 10.0.0.7:6379: refused")}
		w := apitest.Do(New(config, b), apitest.Request("GET", target, ""))
		apitest.Want(t, w, 503, `{"error":"backend_error","message":"the usage could not be read; try again","outcome":"none"}`)
		if !strings.Contains(log.String(), "10.0.0.7") {
			t.Errorf("%s: the log does not say why: %s", target, log)
		}
	}
}

func TestWhoMayRead(t *testing.T) {
	for name, tt := range map[string]struct {
		credential string
		status     int
	}{
		"every right":         {apitest.KeyID + ":" + apitest.Secret, 200},
		"some rights":         {apitest.NarrowID + ":" + apitest.Narrow, 200},
		"no rights":           {apitest.IdleID + ":" + apitest.Idle, 200},
		"publishable":         {apitest.PublicID, 401},
		"publishable, colon":  {apitest.PublicID + ":", 401},
		"another key's":       {apitest.KeyID + ":" + apitest.Narrow, 401},
		"of a suspended app":  {apitest.PausedID + ":" + apitest.Paused, 403},
		"none":                {"", 401},
		"id without a secret": {apitest.KeyID, 401},
	} {
		for _, target := range []string{"/v1/usage", "/v1/usage/channels", "/v1/usage/peers"} {
			config, _ := apitest.Config(t)
			b := &book{}
			r := apitest.Request("GET", target, "")
			r.Header.Set("Authorization", "Bearer "+tt.credential)
			if w := apitest.Do(New(config, b), r); w.Code != tt.status || (len(b.asked) == 1) != (tt.status == 200) {
				t.Errorf("%s: %s: %d %s, want %d", name, target, w.Code, w.Body, tt.status)
			}
		}
	}
}

func TestPathsAndMethods(t *testing.T) {
	const paths = `{"error":"not_found","message":"nothing is served at this path; there is GET /v1/usage, GET /v1/usage/channels, GET /v1/usage/peers"}`
	for _, path := range []string{"/", "/v1/usage//", "/v1/usage/keys", "/v1/usage%2Fchannels", "/v1//usage", "/v1/usage/channels/devices"} {
		apitest.Want(t, get(t, &book{}, path), 404, paths)
	}
	config, _ := apitest.Config(t)
	for _, path := range []string{"/v1/usage", "/v1/usage/channels", "/v1/usage/peers"} {
		for _, target := range []string{path, path + "/"} {
			for _, method := range []string{"GET", "HEAD"} {
				if w := apitest.Do(New(config, &book{}), apitest.Request(method, target, "")); w.Code != 200 {
					t.Errorf("%s %s: %d %s", method, target, w.Code, w.Body)
				}
			}
		}
		for _, method := range []string{"POST", "DELETE", "PUT", "OPTIONS"} {
			w := apitest.Do(New(config, &book{}), apitest.Request(method, path, ""))
			apitest.Want(t, w, 405, `{"error":"method_not_allowed","message":"`+path+` takes GET, HEAD only"}`)
			if allow := w.Header().Get("Allow"); allow != "GET, HEAD" {
				t.Errorf("%s %s: Allow %q", method, path, allow)
			}
		}
	}
}

// From the counting to the answer, over real figures.
func TestWholeWay(t *testing.T) {
	_, rdb := redistest.Embedded(t)
	recorder := usage.NewRecorder(usage.RecorderOptions{Redis: rdb})
	for i := range 5 {
		for range 5 - i {
			recorder.Published("app_demo", fmt.Sprintf("devices/cam-%d/events", i), "cam", 10)
		}
	}
	recorder.Published("app_other", "devices/secret/events", "cam", 10)
	if err := recorder.Flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	reader := usage.NewReader(rdb, rediskeys.Namespace{}, nil)
	apitest.Want(t, get(t, reader, "/v1/usage/peers"), 200, `{"peers":[{"peerId":"cam","published":15,"bytes":150}],"cursor":null}`)
	apitest.Want(t, get(t, reader, "/v1/usage/channels?pattern=devices/cam-3/*"), 200,
		`{"channels":[{"channel":"devices/cam-3/events","published":2,"bytes":20}],"cursor":null}`)

	const first = `{"channels":[{"channel":"devices/cam-0/events","published":5,"bytes":50},{"channel":"devices/cam-1/events","published":4,"bytes":40}],"cursor":"`
	w := get(t, reader, "/v1/usage/channels?pattern=devices/**&limit=2")
	next, ok := strings.CutPrefix(w.Body.String(), first)
	if !ok {
		t.Fatalf("%s\nwant %s…", w.Body, first)
	}
	next = strings.TrimSuffix(next, `"}`)
	apitest.Want(t, get(t, reader, "/v1/usage/channels?limit=1000&cursor="+next), 200,
		`{"channels":[{"channel":"devices/cam-2/events","published":3,"bytes":30},{"channel":"devices/cam-3/events","published":2,"bytes":20},`+
			`{"channel":"devices/cam-4/events","published":1,"bytes":10}],"cursor":null}`)

	const refused = `{"error":"invalid_request","message":"invalid cursor: repeat the cursor of the page before exactly as it came, or leave it out to begin at the top"}`
	apitest.Want(t, get(t, reader, "/v1/usage/peers?cursor="+next), 400, refused)
	for _, cursor := range []string{"x", next + "A", next[1:], "null", "0"} {
		apitest.Want(t, get(t, reader, "/v1/usage/channels?cursor="+cursor), 400, refused)
	}
}
