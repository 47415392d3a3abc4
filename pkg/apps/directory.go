package apps

import "slices"

// Directory is one checked apps document. It never changes, so any number of
// goroutines may use it; what it hands out must not be written to.
type Directory struct {
	apps     []*App
	byID     map[string]*App
	keys     map[string]*Key
	warnings []string
}

// Key finds a key by its id, across all apps.
func (d *Directory) Key(id string) (*Key, bool) {
	k, ok := d.keys[id]
	return k, ok
}

// App finds an app by its id.
func (d *Directory) App(id string) (*App, bool) {
	a, ok := d.byID[id]
	return a, ok
}

// Apps lists the apps in the document's order; there is at least one.
func (d *Directory) Apps() []*App { return slices.Clone(d.apps) }

// FirstSecretKey is the first secret key of the document that signs tokens, or nil.
func (d *Directory) FirstSecretKey() *Key {
	for _, app := range d.apps {
		for _, key := range app.Keys {
			if key.Signs() {
				return key
			}
		}
	}
	return nil
}

// Warnings lists what was accepted but is unwise, each with its JSON path and
// without any secret: "apps[0].keys[0].secret: 12 bytes long; …".
func (d *Directory) Warnings() []string { return slices.Clone(d.warnings) }
