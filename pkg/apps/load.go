package apps

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Load reads and checks an apps document (protocol §7). spec is the path of a
// file, or the document itself when it begins with '{' (white space before it
// is skipped). The errors are those of [Parse], with the file's path before
// them, and those of reading a file.
func Load(spec string) (*Directory, error) {
	inline := strings.TrimLeft(spec, " \t\r\n")
	if strings.HasPrefix(inline, "{") {
		return Parse([]byte(inline))
	}
	if inline == "" {
		return nil, errors.New("no apps document given: give a file's path, or the document itself")
	}
	// Someone who pastes a document with a stray first character must not
	// find its secrets in the log as "open <document>: no such file".
	if strings.ContainsAny(spec, "{\"\n") {
		return nil, errors.New("the apps document is neither a file's path nor a JSON object that begins with '{'")
	}
	doc, err := os.ReadFile(spec)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, fmt.Errorf("apps document %q: %w", spec, err)
	}
	dir, err := Parse(doc)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", spec, err)
	}
	return dir, nil
}
