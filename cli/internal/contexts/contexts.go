// Package contexts remembers the deployments that a person works with: their URLs, and where
// their secret keys lie. It never stores a secret key.
package contexts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"

	"fleetwire/pkg/redact"
)

// File is the file in which contexts are remembered.
type File struct{ Path string }

// Contexts are all that are remembered.
type Contexts struct {
	Current string    `json:"current,omitempty"`
	List    []Context `json:"contexts"`
}

// Context is a deployment.
type Context struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// One of these says where the secret key lies.
	SecretEnv     string `json:"secretEnv,omitempty"`     // a variable
	SecretFile    string `json:"secretFile,omitempty"`    // a file
	SecretCommand string `json:"secretCommand,omitempty"` // a shell command that prints it
}

// DefaultFile is fleetwire/contexts.json in the user's configuration folder.
func DefaultFile() (File, error) {
	folder, err := os.UserConfigDir()
	if err != nil {
		return File{}, fmt.Errorf("no place to keep contexts: %w", err)
	}
	return File{filepath.Join(folder, "fleetwire", "contexts.json")}, nil
}

// Read returns what the file says; without a file, nothing is remembered.
func (f File) Read() (c Contexts, err error) {
	text, err := os.ReadFile(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("contexts: %w", err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("contexts: %s is not the JSON that fleetwire writes (%w); mend or delete it", f.Path, err)
	}
	return c, nil
}

// Write replaces what the file says.
func (f File) Write(c Contexts) error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.Path), 0o700); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	path, err := filepath.EvalSymlinks(f.Path) // some keep their configuration elsewhere, and link to it
	if err != nil {
		path = f.Path
	}
	next, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	defer func() { _ = os.Remove(next.Name()) }()
	_, err = next.Write(append(text, '\n'))
	if err := errors.Join(err, next.Close()); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	return os.Rename(next.Name(), path)
}

// Find returns the context of a name.
func (c *Contexts) Find(name string) (*Context, error) {
	for i := range c.List {
		if c.List[i].Name == name {
			return &c.List[i], nil
		}
	}
	return nil, fmt.Errorf("there is no context %q; `fleetwire context list` shows those there are", name)
}

// Set adds a context, or replaces the one of its name. The first one becomes the current one.
func (c *Contexts) Set(added Context) {
	if one, err := c.Find(added.Name); err == nil {
		*one = added
	} else {
		c.List = append(c.List, added)
	}
	if c.Current == "" {
		c.Current = added.Name
	}
}

// Remove forgets a context.
func (c *Contexts) Remove(name string) error {
	if _, err := c.Find(name); err != nil {
		return err
	}
	c.List = slices.DeleteFunc(c.List, func(one Context) bool { return one.Name == name })
	if c.Current == name {
		c.Current = ""
	}
	return nil
}

var validName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// checkURL says what is wrong with the URL of a deployment, without showing a password in it.
func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil:
		return errors.New("holds a user or a password; give the URL alone, such as https://fleet.example.com")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("is %s, which is not the URL of a deployment; give one such as https://fleet.example.com", redact.Place(text))
	}
	return nil
}

// Check says what is wrong with a context.
func (c *Context) Check() error {
	if !validName.MatchString(c.Name) {
		return fmt.Errorf("%q is not a name for a context: use 1 to 64 of A–Z, a–z, 0–9, _, . and -", c.Name)
	}
	if err := checkURL(c.URL); err != nil {
		return fmt.Errorf("--url %w", err)
	}
	given := 0
	for _, from := range []string{c.SecretEnv, c.SecretFile, c.SecretCommand} {
		if from != "" {
			given++
		}
	}
	if given != 1 {
		return errors.New("say once where the secret key lies: with --secret-env VARIABLE, --secret-file FILE or --secret-command COMMAND")
	}
	return nil
}
