package apps

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"fleetwire/pkg/redact"
)

// FileInterval is how often a file is looked at. A change is in force within that
// (protocol §7: ≤ 60 s), a mistake is told within twice that.
const FileInterval = 5 * time.Second

// Source is where an apps document is kept.
type Source struct {
	// Name is what problems with the document call it: a file's path, the ARN of
	// a secret. "": nothing, for the document itself was given.
	Name string
	// Read returns the document's text as it is now. Its errors say what they are
	// about, and no secret.
	Read func(context.Context) ([]byte, error)
	// Every is how often the document is read again. 0: it cannot change.
	Every time.Duration
	// Exposed says, of a document in a file, who else on the machine may read or write it, and
	// what to do; "": no one else. nil: there is no file.
	Exposed func() string
	// Torn says that a reading may meet a half-written document. A mistake that only
	// one reading shows is then not reported.
	Torn bool
}

// SourceOf is the source that spec names (protocol §7): the path of a file, or
// the document itself when it begins with '{' (white space before it is skipped).
//
// A file is found by its path at every reading, so it may be written in place,
// replaced by rename, or lie behind symbolic links that are switched. Anything
// but a regular file, such as a pipe, is read once.
func SourceOf(spec string) (Source, error) {
	inline := strings.TrimLeft(spec, " \t\r\n")
	if strings.HasPrefix(inline, "{") {
		return Source{Read: func(context.Context) ([]byte, error) { return []byte(inline), nil }}, nil
	}
	if inline == "" {
		return Source{}, errors.New("no apps document given: give a file's path, or the document itself")
	}
	// Someone who pastes a document with a stray first character must not
	// find its secrets in the log as "open <document>: no such file".
	if strings.ContainsAny(spec, "{\"\n") {
		return Source{}, errors.New("the apps document is neither a file's path nor a JSON object that begins with '{'")
	}
	info, err := os.Stat(spec)
	shown := redact.Place(spec) // it may be no path at all but a secret
	if err == nil {
		shown = strconv.Quote(spec)
	}
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return Source{Name: spec, Read: func(context.Context) ([]byte, error) { return readFile(spec, shown) }}, nil
	}
	return Source{Name: spec, Every: FileInterval, Torn: true, Exposed: func() string { return Exposed(spec) }, Read: func(context.Context) ([]byte, error) {
		// Opening a pipe that has come in the file's place would wait for its writer.
		if info, err := os.Stat(spec); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
			return nil, fmt.Errorf("apps document %q: is no regular file any more", spec)
		}
		return readFile(spec, shown)
	}}, nil
}

func readFile(path, shown string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, fmt.Errorf("apps document %s: %w", shown, err)
	}
	return text, nil
}

// Exposed says who but its owner and group may read a file that holds secrets, or
// write it, and what to do about it; "": no one.
func Exposed(path string) string {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	mode := info.Mode().Perm()
	var can string
	switch {
	case mode&0o006 == 0o006:
		can = "read and write"
	case mode&0o004 != 0:
		can = "read"
	case mode&0o002 != 0:
		can = "write"
	default:
		return ""
	}
	return fmt.Sprintf("every user of this machine can %s %s (mode %04o), which holds secrets; run chmod 600 %s", can, path, mode, path)
}
