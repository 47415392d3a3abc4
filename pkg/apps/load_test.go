package apps

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoad(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, bad, missing := write("good.json", document("")), write("bad.json", "{}"), filepath.Join(folder, "missing.json")
	tests := []struct{ name, spec, want string }{
		{"a file", good, ""},
		{"inline", document(""), ""},
		{"inline after white space", "\r\n\t " + document(""), ""},
		{"a file with a mistake", bad, bad + ": apps document: apps: missing; an array of at least one app"},
		{"inline with a mistake", "{}", "apps document: apps: missing; an array of at least one app"},
		{"no such file", missing, `apps document "` + missing + `": no such file or directory`},
		{"a folder", folder, `apps document "` + folder + `": is a directory`},
		{"nothing", " ", "no apps document given: give a file's path, or the document itself"},
		{"a document with a stray first character", "x" + document(""), "the apps document is neither a file's path nor a JSON object that begins with '{'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, err := Load(tt.spec)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := dir.Key("sk_live_1"); !ok {
					t.Error("the key is not there")
				}
				return
			}
			if err == nil || err.Error() != tt.want {
				t.Errorf("error = %v; want %s", err, tt.want)
			}
		})
	}
}

func TestLoadDoesNotMistakeABOMForAPath(t *testing.T) {
	_, err := Load("\xef\xbb\xbf" + document(""))
	if err == nil || strings.Contains(err.Error(), longSecret) {
		t.Errorf("error = %v; want one without the document", err)
	}
}
