package appsfile

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

// secretFields are the fields whose texts are secret, or lists of secret texts: of keys and of sinks.
var secretFields = []string{"secret", "secrets", "password"}

// mask stands for a secret.
const mask = "…"

// masked is the text without secrets, laid out as before. Secrets that differ look alike: beside
// them the id of the key differs.
func (d *Document) masked() string {
	m := masking{text: d.Text, decoder: json.NewDecoder(bytes.NewReader(d.Text))}
	m.decoder.UseNumber()
	if err := m.value(""); err != nil {
		return "" // it was checked before: there is no such document
	}
	m.out.Write(d.Text[m.copied:])
	return m.out.String()
}

// masking reads a document value by value, and copies what lies between secrets.
type masking struct {
	text    []byte
	decoder *json.Decoder
	copied  int // how much of text is copied or left out
	out     strings.Builder
}

// value reads the value of a field, or of the list that is a field.
func (m *masking) value(field string) error {
	before := m.decoder.InputOffset()
	token, err := m.decoder.Token()
	if err != nil {
		return err
	}
	switch token := token.(type) {
	case json.Delim:
		return m.members(token, field)
	case string:
		if shown := withoutSecret(field, token); shown != token {
			return m.replace(int(before), shown)
		}
	}
	return nil
}

// members reads what lies in an object or a list, and its end.
func (m *masking) members(open json.Delim, field string) error {
	for m.decoder.More() {
		if open == '{' {
			name, err := m.decoder.Token()
			if err != nil {
				return err
			}
			field, _ = name.(string)
		}
		if err := m.value(field); err != nil {
			return err
		}
	}
	_, err := m.decoder.Token()
	return err
}

// replace writes another text for the one that was just read. It begins at the first quotation mark
// behind before.
func (m *masking) replace(before int, shown string) error {
	quoted, err := json.Marshal(shown)
	if err != nil {
		return err
	}
	begin := before + bytes.IndexByte(m.text[before:], '"')
	m.out.Write(m.text[m.copied:begin])
	m.out.Write(quoted)
	m.copied = int(m.decoder.InputOffset())
	return nil
}

// withoutSecret is what may be shown of a text: not the value of a secret field, nor the user, the
// password and the query of a URL, nor the secret of a webhook, wherever it stands.
func withoutSecret(field, text string) string {
	if slices.Contains(secretFields, strings.ToLower(field)) || strings.HasPrefix(text, "whsec_") {
		return mask
	}
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		return text
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 { // the last one: a password may hold others
		rest = mask + rest[at:]
	}
	if place, _, hasQuery := strings.Cut(rest, "?"); hasQuery {
		rest = place + "?" + mask
	}
	return scheme + "://" + rest
}
