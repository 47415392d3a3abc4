package appsfile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"fleetwire/pkg/apps"
)

func document(keys string) string { return `{"apps":[{"id":"a","keys":[` + keys + `]}]}` }

const key = `{"id":"sk_live_1","secret":"0123456789abcdef0123456789abcdef","channelPatterns":["**"],"actions":["publish"]}`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "apps.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A diff is read by people, and pasted into tickets.
func TestMaskedShowsNoSecret(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a key", `{"secret": "S3CRET"}`, `{"secret": "…"}`},
		{"a quotation mark in it", `{"secret":"S3\"CRET","a":1}`, `{"secret":"…","a":1}`},
		{"an escaped name", `{"secr\u0065t":"S3CRET"}`, `{"secr\u0065t":"…"}`},
		{"a list", `{"secrets" : [ "S3CRET" ,"S3CRET"]}`, `{"secrets" : [ "…" ,"…"]}`},
		{"a password", `{"sasl":{"username":"u","password":"S3CRET"}}`, `{"sasl":{"username":"u","password":"…"}}`},
		{"a webhook's secret with an escaped slash", `["whsec_S3\/CRET"]`, `["…"]`},
		{"a URL", `{"url":"redis://u:S3CRET@h:6379/0"}`, `{"url":"redis://…@h:6379/0"}`},
		{"a URL with escaped slashes", `{"url":"redis:\/\/u:S3CRET@h"}`, `{"url":"redis://…@h"}`},
		{"a URL with @ and / in the password", `{"url":"redis://:S3/CR@ET@h"}`, `{"url":"redis://…@h"}`},
		{"a URL with a query", `{"url":"https://h/p?token=S3CRET"}`, `{"url":"https://h/p?…"}`},
		{"no secret", "{\n\t\"url\": \"https://h/p\" , \"n\":1e3}\n", "{\n\t\"url\": \"https://h/p\" , \"n\":1e3}\n"},
	} {
		d := &Document{Text: []byte(c.text)}
		if got := d.masked(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// Programs and people change one document at the same time: no change is lost in silence.
func TestWriteLosesNoChange(t *testing.T) {
	path := write(t, document(key))
	var written sync.Map
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			d, err := Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			k := Key{Patterns: []string{"**"}, Actions: []apps.Action{apps.ActionPublish}}.Named(false)
			next, err := d.AddKey("", k)
			if err != nil {
				t.Error(err)
				return
			}
			switch err := next.Write(); {
			case err == nil:
				written.Store(k.ID, true)
			case !strings.Contains(err.Error(), "was changed meanwhile") && !strings.Contains(err.Error(), "another program changes"):
				t.Error(err)
			}
		})
	}
	all.Wait()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for id := range written.Range {
		n++
		if _, ok := d.Key(id.(string)); !ok {
			t.Errorf("key %s was written and is lost", id)
		}
	}
	if got := len(d.Apps()[0].Keys); got != n+1 || n == 0 {
		t.Errorf("%d keys, want the first one and the %d written", got, n)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Documents are laid out in many ways. A change keeps the layout, the rights and a link to the file.
func TestWriteKeepsTheFile(t *testing.T) {
	lines := "{\n  \"apps\": [\n    {\n      \"id\": \"a\",\n      \"keys\": [\n        " + key + "\n      ]\n    }\n  ]\n}\n"
	for name, text := range map[string]string{
		"one line":   document(key),
		"CRLF":       strings.ReplaceAll(lines, "\n", "\r\n"),
		"tabs":       strings.ReplaceAll(lines, "  ", "\t"),
		"large":      document(key + strings.Repeat(" ", 1<<20)),
		"keys first": `{"apps":[{"keys":[` + key + `],"id":"a"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, text)
			if err := os.Chmod(path, 0o440); err != nil {
				t.Fatal(err)
			}
			link := filepath.Join(t.TempDir(), "link.json")
			if err := os.Symlink(path, link); err != nil {
				t.Fatal(err)
			}
			d, err := Open(link)
			if err != nil {
				t.Fatal(err)
			}
			added, id, err := d.RotateKey("sk_live_1")
			if err != nil {
				t.Fatal(err)
			}
			if err := added.Write(); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
				t.Errorf("the link is %v, %v", info, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o440 {
				t.Errorf("the file is %v, %v", info, err)
			}
			if d, err = Open(link); err != nil {
				t.Fatal(err)
			}
			back, err := d.RevokeKey(id)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(back.Text); got != text {
				t.Errorf("a key that comes and goes leaves %q, want %q", got[:min(len(got), 300)], text[:min(len(text), 300)])
			}
		})
	}
}

// Where an edit does not do what it should, it is not made.
func TestEscapedNames(t *testing.T) {
	d, err := Open(write(t, strings.Replace(document(key), `"keys"`, `"k\u0065ys"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	if next, err := d.RevokeKey("sk_live_1"); err == nil {
		if _, ok := next.Key("sk_live_1"); ok {
			t.Error("the key is still there")
		}
	}
	k := Key{Patterns: []string{"**"}, Actions: []apps.Action{apps.ActionPublish}}.Named(false)
	if next, err := d.AddKey("", k); err == nil {
		if _, ok := next.Key(k.ID); !ok {
			t.Error("the key is not there")
		}
	}
}

func TestLeftLock(t *testing.T) {
	path := write(t, document(key))
	left := filepath.Join(filepath.Dir(path), ".apps.json.new")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := lock(path, 0)
	if want := fmt.Sprintf("delete %s", left); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}
