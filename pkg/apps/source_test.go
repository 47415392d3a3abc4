package apps

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"fleetwire/pkg/redact"
)

func open(spec string, log *slog.Logger) (*Document, error) {
	source, err := SourceOf(spec)
	if err != nil {
		return nil, err
	}
	return Open(context.Background(), source, log)
}

func TestOpen(t *testing.T) {
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
		{"no such file", missing, `apps document ` + redact.Place(missing) + `: no such file or directory`},
		{"a folder", folder, `apps document "` + folder + `": is a directory`},
		{"nothing", " ", "no apps document given: give a file's path, or the document itself"},
		{"a document with a stray first character", "x" + document(""), "the apps document is neither a file's path nor a JSON object that begins with '{'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := open(tt.spec, slog.New(slog.DiscardHandler))
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if _, ok := d.Store.Current().Key("sk_live_1"); !ok {
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

func TestSourceOfDoesNotMistakeABOMForAPath(t *testing.T) {
	_, err := SourceOf("\xef\xbb\xbf" + document(""))
	if err == nil || strings.Contains(err.Error(), longSecret) {
		t.Errorf("error = %v; want one without the document", err)
	}
}

// -apps <(decrypt apps.json.enc): what comes out of a pipe comes once.
func TestAPipeIsReadOnce(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "apps.json")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip("no named pipes here: ", err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(pipe, []byte(document("")), 0o600) }()
	d, err := open(pipe, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	d.Refresh(t.Context()) // would wait for a writer
	d.Run(t.Context(), nil)
	if stale := d.Store.Stale(); stale != nil {
		t.Errorf("stale: %+v", stale)
	}
}
