package api_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/functions/internal/apitest"
	"fleetwire/pkg/apps"
)

const (
	tooLarge = `{"error":"invalid_request","message":"the body is larger than 32768 bytes, the most that is taken"}`
	complete = `{"read":true}`
)

// reader reads bodies with the fields a and b, and says so.
func reader(w http.ResponseWriter, r *http.Request, _ *apps.Key) error {
	if _, err := api.ReadObject(w, r, protocol.MaxBodyBytes, "a", "b"); err != nil {
		return err
	}
	return api.WriteJSON(w, map[string]bool{"read": true})
}

func TestContentTypes(t *testing.T) {
	refusal := func(what string) string {
		return string(protocol.AppendErrorBody(nil, protocol.Errorf(protocol.InvalidRequest, "%s", what)))
	}
	notJSON := func(sent string) string {
		return refusal("the Content-Type " + sent + " is not JSON; send Content-Type: application/json")
	}
	tests := []struct {
		header string
		status int
		body   string
	}{
		{"", 200, complete},
		{"application/json", 200, complete},
		{"Application/JSON", 200, complete},
		{"application/json; charset=utf-8", 200, complete},
		{`application/json;charset="UTF-8"`, 200, complete},
		{"application/json; charset=utf8", 200, complete},
		{`application/json; charset="Utf8"`, 200, complete},
		{"application/json; v=1", 200, complete},
		{"application/cloudevents+json", 200, complete},
		{"text/plain", 415, notJSON(`"text/plain"`)},
		{"application/x-www-form-urlencoded", 415, notJSON(`"application/x-www-form-urlencoded"`)},
		{"application/jsonp", 415, notJSON(`"application/jsonp"`)},
		{"application/json, text/plain", 415, notJSON(`"application/json, text/plain"`)},
		{"json", 415, notJSON(`"json"`)},
		{`application/json; charset="`, 415, notJSON(`"application/json; charset=\""`)},
		{"application/json; charset=latin1", 415, refusal(`the charset "latin1" is not taken; send UTF-8, with Content-Type: application/json`)},
		{"application/json; charset=utf-16", 415, refusal(`the charset "utf-16" is not taken; send UTF-8, with Content-Type: application/json`)},
		{"xx/" + strings.Repeat("é", 99), 415, notJSON(`"xx/` + strings.Repeat("é", 38) + `…"`)},
	}
	for _, tt := range tests {
		t.Run(tt.header, func(t *testing.T) {
			h, _, _ := handler(t, reader)
			r := apitest.Request("POST", target, `{"a":1}`)
			r.Header.Del("Content-Type")
			if tt.header != "" {
				r.Header.Set("Content-Type", tt.header)
			}
			w := apitest.Do(h, r)
			apitest.Want(t, w, tt.status, tt.body)
			if accept := w.Header().Get("Accept"); (accept == "application/json") != (tt.status == 415) {
				t.Errorf("status %d with Accept: %q", w.Code, accept)
			}
		})
	}
}

// padded is a JSON object of exactly size bytes.
func padded(size int) string {
	const frame = `{"a":""}`
	return `{"a":"` + strings.Repeat("x", size-len(frame)) + `"}`
}

func TestBodySize(t *testing.T) {
	config, _ := apitest.Config(t)
	server := httptest.NewServer(api.New(config, things, reader))
	defer server.Close()
	for _, tt := range []struct {
		name   string
		size   int
		status int
		body   string
	}{
		{"at the bound", protocol.MaxBodyBytes, 200, complete},
		{"one byte over", protocol.MaxBodyBytes + 1, 413, tooLarge},
		{"far over", 100 << 10, 413, tooLarge},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, chunked %v", tt.name, chunked), func(t *testing.T) {
				var body io.Reader = strings.NewReader(padded(tt.size))
				if chunked {
					body = struct{ io.Reader }{body} // hides its length
				}
				r, err := http.NewRequest("POST", server.URL+target, body)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", "Bearer "+apitest.KeyID+":"+apitest.Secret)
				response, err := server.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				got, err := io.ReadAll(response.Body)
				if err != nil {
					t.Fatal(err)
				}
				if response.StatusCode != tt.status || string(got) != tt.body {
					t.Errorf("%d %s, want %d %s", response.StatusCode, got, tt.status, tt.body)
				}
			})
		}
	}
}

// A caller that waits for leave to send (RFC 9110 §10.1.1) is refused before it has sent anything.
func TestOversizeIsRefusedByItsContentLength(t *testing.T) {
	config, _ := apitest.Config(t)
	server := httptest.NewServer(api.New(config, things, reader))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s:%s\r\nContent-Length: 32769\r\nExpect: 100-continue\r\n\r\n",
		target, apitest.KeyID, apitest.Secret)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 413 || string(got) != tooLarge {
		t.Errorf("%d %s %v, want 413 %s", response.StatusCode, got, err, tooLarge)
	}
}

func TestBodyThatBreaksOff(t *testing.T) {
	h, _, log := handler(t, reader)
	r := apitest.Request("POST", target, "")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"a":`), iotest.ErrReader(errors.New("reset by 10.0.0.7"))))
	r.ContentLength = -1
	apitest.Want(t, apitest.Do(h, r), 400, `{"error":"invalid_request","message":"the body ended before it was complete; send it whole"}`)
	if log.String() != "" {
		t.Errorf("logged: %s", log)
	}
}

func TestRequestWithoutABody(t *testing.T) {
	h, _, _ := handler(t, reader)
	r, err := http.NewRequest("POST", target, nil) // as an adapter would make it
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+apitest.KeyID+":"+apitest.Secret)
	w := apitest.Do(h, r)
	if w.Code != 400 || !strings.HasPrefix(w.Body.String(), `{"error":"invalid_request","message":"the body must be a JSON object with the fields a, b: `) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestBodyMustBeOneStrictObject(t *testing.T) {
	const mustBe = "the body must be a JSON object with the fields a, b: "
	tests := []struct {
		name, body string
		message    string // how it begins
	}{
		{"empty", "", mustBe},
		{"white space", " \n", mustBe},
		{"an array", `[{"a":1}]`, mustBe},
		{"a string", `"a"`, mustBe},
		{"null", `null`, mustBe},
		{"a form", `a=1&b=2`, mustBe},
		{"cut off", `{"a":1`, mustBe},
		{"two objects", `{"a":1}{"b":2}`, mustBe},
		{"trailing comma", `{"a":1,}`, mustBe},
		{"single quotes", `{'a':1}`, mustBe},
		{"comment", `{"a":1/**/}`, mustBe},
		{"NaN", `{"a":NaN}`, mustBe},
		{"leading zero", `{"a":01}`, mustBe},
		{"byte order mark", "\ufeff" + `{"a":1}`, mustBe},
		{"invalid UTF-8 in a value", "{\"a\":\"\xff\"}", mustBe},
		{"raw control character", "{\"a\":\"\n\"}", mustBe},
		{"unknown field", `{"a":1,"c":2}`, `there is no field "c"; the fields are a, b`},
		{"field in another case", `{"A":1}`, `there is no field "A"; the fields are a, b`},
		{"empty field name", `{"":1}`, `there is no field ""; the fields are a, b`},
		{"long unknown field", `{"` + strings.Repeat("k", 9999) + `":1}`, `there is no field "` + strings.Repeat("k", 80) + `…"; the fields`},
		{"field twice", `{"a":1,"b":2,"a":1}`, `a is there twice; send it once`},
		{"field twice, once escaped", `{"a":1,"\u0061":2}`, `a is there twice; send it once`},
		{"nested beyond bounds", `{"a":` + strings.Repeat("[", 15000) + strings.Repeat("]", 15000) + `}`, mustBe},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, _, log := handler(t, reader)
			w := apitest.Do(h, apitest.Request("POST", target, tt.body))
			if want := string(protocol.AppendString([]byte(`{"error":"invalid_request","message":`), tt.message)); w.Code != 400 || !strings.HasPrefix(w.Body.String(), strings.TrimSuffix(want, `"`)) {
				t.Errorf("%d %s\nwant 400 %s…", w.Code, w.Body, want)
			}
			if w.Body.Len() > 500 {
				t.Errorf("%d bytes of answer: what was sent comes back", w.Body.Len())
			}
			if log.String() != "" {
				t.Errorf("logged: %s", log)
			}
		})
	}
	h, _, _ := handler(t, reader)
	for _, body := range []string{`{}`, " {\"a\" : 1 ,\t\"b\":[ ] }\r\n", `{"\u0061":null}`} {
		apitest.Want(t, apitest.Do(h, apitest.Request("POST", target, body)), 200, complete)
	}
}

func TestObjectReaders(t *testing.T) {
	type reading func(o api.Object) (any, error)
	text := func(o api.Object) (any, error) {
		s, given, err := o.String("a", protocol.InvalidPeerID)
		return fmt.Sprint(s, " ", given), err
	}
	texts := func(o api.Object) (any, error) {
		l, given, err := o.Strings("a", 2, protocol.InvalidChannel)
		return fmt.Sprintf("%q %v", l, given), err
	}
	number := func(o api.Object) (any, error) { return o.Int("a", "seconds", 1, 60, 42) }
	fromZero := func(o api.Object) (any, error) { return o.Int("a", "seconds", 0, 60, 42) }
	object := func(o api.Object) (any, error) {
		b, err := o.Object("a", 9)
		if b == nil {
			return nil, err
		}
		return string(b), err
	}
	const wantNumber = "; it must be a whole number of seconds from 1 to 60, in plain digits"
	tests := []struct {
		body  string
		read  reading
		want  any
		wrong string
	}{
		{`{}`, text, " false", ""},
		{`{"a":"x\u0041\n"}`, text, "xA\n true", ""},
		{`{"a":""}`, text, " true", ""},
		{`{"a":null}`, text, nil, "a is null; it must be a string"},
		{`{"a":7}`, text, nil, "a is a number; it must be a string"},
		{`{"a":-7}`, text, nil, "a is a number; it must be a string"},
		{`{"a":false}`, text, nil, "a is a boolean; it must be a string"},
		{`{"a":[]}`, text, nil, "a is an array; it must be a string"},
		{`{"a":{}}`, text, nil, "a is an object; it must be a string"},

		{`{}`, texts, `[] false`, ""},
		{`{"a":[]}`, texts, `[] true`, ""},
		{`{"a": [ "x", "]," ] }`, texts, `["x" "],"] true`, ""},
		{`{"a":["x","x"]}`, texts, `["x" "x"] true`, ""},
		{`{"a":null}`, texts, nil, "a is null; it must be an array of strings; leave it out to use the key's own"},
		{`{"a":"x"}`, texts, nil, "a is a string; it must be an array of strings; leave it out to use the key's own"},
		{`{"a":{"0":"x"}}`, texts, nil, "a is an object; it must be an array of strings; leave it out to use the key's own"},
		{`{"a":["x",1]}`, texts, nil, "a[1] is a number; it must be a string"},
		{`{"a":[null]}`, texts, nil, "a[0] is null; it must be a string"},
		{`{"a":[["x"]]}`, texts, nil, "a[0] is an array; it must be a string"},
		{`{"a":["x","y","z"]}`, texts, nil, "a has 3 entries; at most 2 are allowed"},

		{`{}`, number, int64(42), ""},
		{`{"a":1}`, number, int64(1), ""},
		{`{"a":60}`, number, int64(60), ""},
		{`{"a":0}`, number, nil, "a is 0" + wantNumber},
		{`{"a":-0}`, number, nil, "a is -0" + wantNumber},
		{`{"a":61}`, number, nil, "a is 61" + wantNumber},
		{`{"a":-1}`, number, nil, "a is -1" + wantNumber},
		{`{"a":0}`, fromZero, int64(0), ""},
		{`{"a":-0}`, fromZero, nil, "a is -0; it must be a whole number of seconds from 0 to 60, in plain digits"},
		{`{"a":1.0}`, number, nil, "a is 1.0" + wantNumber},
		{`{"a":3e1}`, number, nil, "a is 3e1" + wantNumber},
		{`{"a":18446744073709551617}`, number, nil, "a is 18446744073709551617" + wantNumber},
		{`{"a":` + strings.Repeat("9", 400) + `}`, number, nil, "a is " + strings.Repeat("9", 80) + "…" + wantNumber},
		{`{"a":"30"}`, number, nil, "a is a string; it must be a whole number of seconds from 1 to 60, in plain digits"},
		{`{"a":null}`, number, nil, "a is null; it must be a whole number of seconds from 1 to 60, in plain digits"},

		{`{}`, object, nil, ""},
		{`{"a":null}`, object, nil, ""},
		{`{"a":{}}`, object, "{}", ""},
		{`{"a":{ "k" :  1.0e1 } }`, object, "", "a is 11 bytes long as compact JSON; at most 9 are allowed"},
		{`{"a":{ "k" :  "<" } }`, object, `{"k":"<"}`, ""},
		{`{"a":[]}`, object, nil, "a must be a JSON object, got an array"},
		{`{"a":"{}"}`, object, nil, "a must be a JSON object, got a string"},
		{`{"a":0}`, object, nil, "a must be a JSON object, got a number"},
	}
	for _, tt := range tests {
		t.Run(tt.body, func(t *testing.T) {
			r := apitest.Request("POST", target, tt.body)
			o, err := api.ReadObject(httptest.NewRecorder(), r, protocol.MaxBodyBytes, "a")
			if err != nil {
				t.Fatal(err)
			}
			got, err := tt.read(o)
			if tt.wrong != "" {
				e, ok := errors.AsType[*protocol.Error](err)
				if !ok || e.Code != protocol.InvalidRequest || e.Message != tt.wrong {
					t.Errorf("error %v, want invalid_request: %s", err, tt.wrong)
				}
				return
			}
			if err != nil || got != tt.want {
				t.Errorf("%v %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestRawIsVerbatim(t *testing.T) {
	r := apitest.Request("POST", target, `{"a": [ 1.0,"\u0041<" ] ,"b":null}`)
	o, err := api.ReadObject(httptest.NewRecorder(), r, protocol.MaxBodyBytes, "a", "b", "c")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": `[ 1.0,"\u0041<" ]`, "b": "null"} {
		if got, given := o.Raw(name); !given || string(got) != want {
			t.Errorf("%s is %s %v, want %s", name, got, given, want)
		}
	}
	if got, given := o.Raw("c"); given || got != nil {
		t.Errorf("c is %s, want nothing", got)
	}
}
