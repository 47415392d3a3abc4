// Package appsfile changes apps documents (protocol §7) that lie in files: it checks the whole
// document before it writes, leaves what it does not change as it was written, and replaces the
// file at once.
package appsfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/aymanbagabas/go-udiff"

	"fleetwire/pkg/apps"
)

// indent is how documents are laid out that are laid out by line.
const indent = "  "

// Document is an apps document, and the file that it lies in.
type Document struct {
	Path string
	Text []byte
	*apps.Directory
	new bool
}

// Open reads and checks a document. The error lists what is wrong, and holds no secret.
func Open(path string) (*Document, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s does not exist; `fleetwire apps init %s` makes one", path, path)
	}
	if err != nil {
		return nil, err
	}
	d, err := check(path, text)
	if err != nil {
		return nil, &Wrong{path, err}
	}
	return d, nil
}

// Wrong reports what is wrong with a document that could be read.
type Wrong struct {
	Path string
	Err  error
}

func (e *Wrong) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *Wrong) Unwrap() error { return e.Err }

// New is a document that is not written yet. Its file must not exist.
func New(path string, text []byte) (*Document, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s exists already; `fleetwire apps add-key %s` adds a key to it", path, path)
	}
	d, err := check(path, lines(text))
	if err != nil {
		return nil, err
	}
	d.new = true
	return d, nil
}

func check(path string, text []byte) (*Document, error) {
	directory, err := apps.Parse(text)
	if err != nil {
		return nil, err
	}
	return &Document{Path: path, Text: text, Directory: directory}, nil
}

// changed is the document with another text, which is checked. If the document was laid out
// by line, what is new is, too.
func (d *Document) changed(text []byte) (*Document, error) {
	if bytes.Equal(lines(d.Text), d.Text) {
		text = lines(text)
	}
	next, err := check(d.Path, text)
	if err != nil {
		return nil, fmt.Errorf("the document would not be right any more: %w", err)
	}
	return next, nil
}

// lines lays a document out by line.
func lines(text []byte) []byte {
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(text), "", indent); err != nil {
		return text
	}
	return append(out.Bytes(), '\n')
}

// Write replaces the file at once: whoever reads meanwhile gets the one or the other. A file that is
// new can be read by its owner alone; another one keeps its rights.
func (d *Document) Write() error {
	mode := fs.FileMode(0o600)
	path, err := filepath.EvalSymlinks(d.Path)
	if d.new {
		path, err = d.Path, nil
	}
	if err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	next, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(next.Name()) }()
	_, err = next.Write(d.Text)
	err = errors.Join(err, next.Chmod(mode), next.Sync(), next.Close())
	if err != nil {
		return err
	}
	if d.new {
		return os.Link(next.Name(), path) // fails if another one has come first
	}
	return os.Rename(next.Name(), path)
}

// Diff shows what differs between two documents, without their secrets. "": nothing.
func Diff(before, after *Document) string {
	return udiff.Unified(before.Path, before.Path+" (new)", before.masked(), after.masked())
}

// masks find what a document holds that is secret, in the order in which they are tried.
var masks = []*regexp.Regexp{
	regexp.MustCompile(`("(?:secret|password)"\s*:\s*")(?:[^"\\]|\\.)*`),
	regexp.MustCompile(`(://[^/@\s":]*:)[^/@\s"]*`),
	regexp.MustCompile(`(whsec_)[A-Za-z0-9+/=]*`),
}

// masked is the text without secrets. Secrets that differ look alike: beside them the id of
// the key differs.
func (d *Document) masked() string {
	text := d.Text
	for _, mask := range masks {
		text = mask.ReplaceAll(text, []byte("${1}…"))
	}
	return string(text)
}
