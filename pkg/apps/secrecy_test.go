package apps

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
)

// A key ends up in a log line sooner or later; its secret must not.
func TestPrintingAKeyNeverShowsItsSecret(t *testing.T) {
	dir, err := Parse([]byte(keyDocument(oneKey)))
	if err != nil {
		t.Fatal(err)
	}
	key, _ := dir.Key("sk_live_1")
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", key, *key, []*Key{key})
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("m", "key", key, "value", *key)
	}
	text, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	if strings.Contains(out.String(), longSecret) {
		t.Errorf("the secret is in:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "sk_live_1") {
		t.Errorf("the id is not in:\n%s", out.String())
	}
}

// Each document is broken near a secret, as by a careless edit.
func TestErrorsNeverShowASecret(t *testing.T) {
	const secret = "SEKRIT-SEKRIT-SEKRIT-SEKRIT-SEKRIT"
	for name, doc := range map[string]string{
		"an unescaped quotation mark":  `{"apps":[{"id":"a","keys":[{"id":"sk","secret":"` + secret + `"` + secret + `"}]}]}`,
		"no quotation marks":           `{"apps":[{"id":"a","keys":[{"id":"sk","secret":` + secret + `}]}]}`,
		"a document begun twice":       `[{"apps":[{"id":"a","keys":[{"id":"sk","secret":"` + secret + `"}]}]}`,
		"the secret in an array":       keyDocument(`{"id":"sk","secret":["` + secret + `"],"channelPatterns":[],"actions":[]}`),
		"the whole credential as id":   keyDocument(`{"id":"sk:` + secret + `","secret":"x","channelPatterns":[],"actions":[]}`),
		"the other spelling as id":     keyDocument(`{"id":"sk_secret_` + secret + `","secret":"x","channelPatterns":[],"actions":[]}`),
		"the credential as app id":     `{"apps":[{"id":"sk:` + secret + `","keys":[]}]}`,
		"the credential for a key":     keyDocument(`"sk:` + secret + `"`),
		"a secret for publishable key": keyDocument(`{"id":"pk_1","secret":"` + secret + `","channelPatterns":[],"actions":[]}`),
	} {
		for how, load := range map[string]func(string) error{
			"Parse": func(s string) error { _, err := Parse([]byte(s)); return err },
			"Open":  func(s string) error { _, err := open(s, slog.New(slog.DiscardHandler)); return err },
		} {
			err := load(doc)
			if err == nil {
				t.Errorf("%s, %s: accepted", name, how)
			} else if strings.Contains(err.Error(), "SEKRIT") {
				t.Errorf("%s, %s: the error shows the secret: %v", name, how, err)
			}
		}
	}
}

// Wherever in a good document a secret is put, whether for a name, for a value or
// between them, no error and no warning shows it.
func TestNoPlaceShowsASecret(t *testing.T) {
	const secret = "5ec4e7000000000000000000000000000000000000000001"
	good := `{"apps":[{"id":"a","suspended":false,"plan":{"name":"p","maxConcurrentConnections":1,"maxMessagesPerPeriod":2,"overagesAllowed":true},` +
		`"limits":{"restPerSec":3},"keys":[{"id":"sk_1","secret":"x","channelPatterns":["a/**"],"actions":["publish"],"allowedOrigins":["https://a.example"]}]}]}`
	refused := 0
	try := func(doc string) {
		t.Helper()
		var log bytes.Buffer
		_, err := open(doc, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			refused++
		}
		if said := fmt.Sprint(err, &log); strings.Contains(said, secret) {
			t.Errorf("%s\nshows it: %s", doc, said)
		}
	}
	token := regexp.MustCompile(`"[^"]*"|true|false|\d`)
	places := token.FindAllStringIndex(good, -1)
	for _, at := range places {
		for _, instead := range []string{`"` + secret + `"`, secret, `["` + secret + `"]`, `{"` + secret + `":1}`, `"sk_1:` + secret + `"`, `"` + secret + `":1,"x"`, `"https://` + secret + `"`, `"` + secret + `/.."`, `"\u0000` + secret + `"`} {
			try(good[:at[0]] + instead + good[at[1]:])
		}
	}
	for at := range good {
		try(good[:at] + secret + good[at:])
	}
	try(secret)
	try("/nowhere/" + secret)
	try("arn:aws:secretsmanager:" + secret)
	if refused < 6*len(places) {
		t.Errorf("only %d of the documents were refused", refused)
	}
}
