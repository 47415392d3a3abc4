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
	"time"

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
	before []byte // what the file said when it was opened
	new    bool
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
	d.before = text
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
	next.before = d.before
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
// new can be read by its owner alone; another one keeps its rights and its owner. If somebody else has
// changed the file since it was read, Write changes nothing.
func (d *Document) Write() error {
	path, err := filepath.EvalSymlinks(d.Path)
	if d.new {
		path, err = d.Path, nil
	}
	if err != nil {
		return err
	}
	next, err := lock(path, lockTime)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(next.Name()) }()
	if err := errors.Join(d.fill(next, path), next.Sync(), next.Close()); err != nil {
		return err
	}
	if d.new {
		return os.Link(next.Name(), path) // fails if another one has come first
	}
	now, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, d.before) {
		return fmt.Errorf("%s was changed meanwhile, so nothing is written; run the command again", d.Path)
	}
	return os.Rename(next.Name(), path)
}

// fill writes the document into the file that will be at path.
func (d *Document) fill(next *os.File, path string) error {
	if _, err := next.Write(d.Text); err != nil || d.new {
		return err
	}
	before, err := os.Stat(path)
	if err != nil {
		return err
	}
	return errors.Join(keepOwner(next, before), next.Chmod(before.Mode().Perm()))
}

// lockTime bounds the wait for another program that changes the same document.
const lockTime = 5 * time.Second

// lock makes the file that will replace another one. While it exists, no other fleetwire writes.
func lock(path string, patience time.Duration) (*os.File, error) {
	name := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			return file, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("another program changes %s; if none does, delete %s, which one that was ended has left", path, name)
		}
	}
}

// Diff shows what differs between two documents, without their secrets. "": nothing.
func Diff(before, after *Document) string {
	return udiff.Unified(before.Path, before.Path+" (new)", before.masked(), after.masked())
}
