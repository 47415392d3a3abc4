package appsfile

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"fleetwire/pkg/apps"
)

// Key is a key to add.
type Key struct {
	ID             string        `json:"id"`
	Secret         string        `json:"secret,omitempty"` // "": it is publishable
	Patterns       []string      `json:"channelPatterns"`
	Actions        []apps.Action `json:"actions"`
	Role           string        `json:"role,omitempty"` // "": it may do all that its actions allow
	AllowedOrigins []string      `json:"allowedOrigins,omitempty"`
}

// Named is the key with an id, and a secret unless it is publishable, that no other one has.
func (k Key) Named(publishable bool) Key {
	if publishable {
		k.ID = apps.GeneratePublishableID()
	} else {
		k.ID, k.Secret = apps.GenerateKeyPair()
	}
	return k
}

// Init is the text of a document with one app, and one key.
func Init(app string, key Key) ([]byte, error) {
	return json.Marshal(map[string]any{"apps": []any{struct {
		ID   string `json:"id"`
		Keys []Key  `json:"keys"`
	}{app, []Key{key}}}})
}

// AddKey adds a key to an app; "": to the only one.
func (d *Document) AddKey(app string, key Key) (*Document, error) {
	at, err := d.app(app)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(key)
	if err != nil {
		return nil, err
	}
	return d.appended(at, raw, key.ID)
}

// errLayout reports that an edit did not do what it should.
var errLayout = errors.New("the document is written in a way that this program cannot change, such as with escaped names of fields; change it by hand")

// appended is the document with one key more in an app.
func (d *Document) appended(app int, key []byte, id string) (*Document, error) {
	text, err := sjson.SetRawBytes(d.Text, fmt.Sprintf("apps.%d.keys.-1", app), key)
	if err != nil {
		return nil, err
	}
	next, err := d.changed(text)
	if err != nil {
		return nil, err
	}
	if _, ok := next.Key(id); !ok {
		return nil, errLayout
	}
	return next, nil
}

// app is the place of an app in the document.
func (d *Document) app(id string) (at int, err error) {
	all := d.Apps()
	if id == "" && len(all) == 1 {
		return 0, nil
	}
	if id == "" {
		return 0, fmt.Errorf("%s has %d apps; say with --app to which one the key belongs", d.Path, len(all))
	}
	for i, app := range all {
		if app.ID == id {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%s has no app %q", d.Path, id)
}

// RotateKey adds a key that may do what another one may, and returns its id and credential.
func (d *Document) RotateKey(id string) (next *Document, newID string, err error) {
	app, at, err := d.key(id)
	if err != nil {
		return nil, "", err
	}
	old, _ := d.Key(id)
	fresh := Key{}.Named(old.Publishable())
	// As it is written: with what this program does not know of it, too.
	raw, err := sjson.Set(gjson.GetBytes(d.Text, fmt.Sprintf("apps.%d.keys.%d", app, at)).Raw, "id", fresh.ID)
	if err == nil && !old.Publishable() {
		raw, err = sjson.Set(raw, "secret", fresh.Secret)
	}
	if err != nil {
		return nil, "", err
	}
	next, err = d.appended(app, []byte(raw), fresh.ID)
	return next, fresh.ID, err
}

// RevokeKey removes a key.
func (d *Document) RevokeKey(id string) (*Document, error) {
	app, at, err := d.key(id)
	if err != nil {
		return nil, err
	}
	text, err := sjson.DeleteBytes(d.Text, fmt.Sprintf("apps.%d.keys.%d", app, at))
	if err != nil {
		return nil, err
	}
	next, err := d.changed(text)
	if err != nil {
		return nil, err
	}
	if _, ok := next.Key(id); ok {
		return nil, errLayout
	}
	return next, nil
}

// key is the place of a key in the document.
func (d *Document) key(id string) (app, at int, err error) {
	for i, a := range d.Apps() {
		for j, k := range a.Keys {
			if k.ID == id {
				return i, j, nil
			}
		}
	}
	return 0, 0, fmt.Errorf("%s has no key %q; `fleetwire apps keys %s` lists those there are", d.Path, id, d.Path)
}
