package apps

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/redact"
)

// maxProblems is how many mistakes one error lists; more are only counted.
const maxProblems = 10

// problems collects what is wrong with a document, each with its JSON path.
type problems struct {
	lines []string
	more  int
}

func (p *problems) addf(path, format string, args ...any) {
	if len(p.lines) == maxProblems {
		p.more++
		return
	}
	p.lines = append(p.lines, path+": "+fmt.Sprintf(format, args...))
}

// err is one error that lists the problems a line each, or nil.
func (p *problems) err() error {
	lines := p.lines
	if p.more > 0 {
		lines = append(slices.Clone(lines), fmt.Sprintf("… and %d more", p.more))
	}
	if len(lines) == 0 {
		return nil
	}
	return errors.New("apps document: " + strings.Join(lines, "; ")) // one line: it goes into logs
}

// value is a JSON value of the document and its path. Its readers below add a
// problem when they return false.
type value struct {
	path string
	raw  []byte
	p    *problems
}

func (v value) addf(format string, args ...any) { v.p.addf(v.path, format, args...) }

// got shows a value in a message: as written when it is short and simple. It must
// not show a secret.
func (v value) got() string {
	kind := protocol.Kind(v.raw)
	switch {
	case v.raw[0] == '{' || v.raw[0] == '[':
		return kind
	case len(v.raw) > redact.MaxShown:
		return fmt.Sprintf("%s of %d bytes", kind, len(v.raw))
	}
	return string(v.raw)
}

// object is a JSON object of the document whose fields are all known.
type object struct {
	value
	fields map[string][]byte
}

// object reads an object in which each field is one of known and given once.
func (v value) object(known ...string) (object, bool) {
	if v.raw[0] != '{' {
		v.addf("must be an object, got %s", protocol.Kind(v.raw))
		return object{}, false
	}
	o := object{value: v, fields: make(map[string][]byte, len(known))}
	err := protocol.ScanObject(v.raw, func(name string, raw []byte) error {
		_, twice := o.fields[name]
		switch {
		case !slices.Contains(known, name):
			o.unknown(name, known)
		case twice:
			o.at(name).addf("given more than once")
		default:
			o.fields[name] = raw
		}
		return nil
	})
	if err != nil {
		v.addf("not valid JSON") // the whole document was: only a limit of ScanObject can refuse it
		return object{}, false
	}
	return o, true
}

// unknown adds a problem about a field that is none of known. Its name is cut like
// any value: it may be a secret, pasted where a name belongs.
func (o object) unknown(name string, known []string) {
	shown := name
	switch {
	case slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, name) }):
	case len(name) > redact.MaxShown || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '.' }):
		shown = redact.Value(name)
	}
	o.at(shown).addf("unknown field; known here: %s", strings.Join(known, ", "))
}

// at is the value of a field, which may be absent, with its path.
func (o object) at(name string) value {
	path := name
	if o.path != "" {
		path = o.path + "." + name
	}
	return value{path: path, raw: o.fields[name], p: o.p}
}

// get is the value of an optional field.
func (o object) get(name string) (value, bool) {
	_, ok := o.fields[name]
	return o.at(name), ok
}

// need is the value of a field that must be there; what says what to write.
func (o object) need(name, what string) (value, bool) {
	v, ok := o.get(name)
	if !ok {
		v.addf("missing; %s", what)
	}
	return v, ok
}

// list reads an array.
func (v value) list() ([]value, bool) {
	var raws []json.RawMessage
	if v.raw[0] != '[' || json.Unmarshal(v.raw, &raws) != nil {
		v.addf("must be an array, got %s", protocol.Kind(v.raw))
		return nil, false
	}
	items := make([]value, len(raws))
	for i, raw := range raws {
		items[i] = value{path: v.path + "[" + strconv.Itoa(i) + "]", raw: raw, p: v.p}
	}
	return items, true
}

// atMost reads an array of so many items at most. what names them in the error.
func (v value) atMost(most int, what string) ([]value, bool) {
	items, ok := v.list()
	if len(items) > most {
		v.addf("has %d %s; at most %d are allowed", len(items), what, most)
		return nil, false
	}
	return items, ok
}

// text reads a string. The message never shows what was there instead.
func (v value) text() (string, bool) {
	if v.raw[0] == '"' {
		s, err := protocol.DecodeString(v.raw)
		if err == nil {
			return s, true
		}
		v.addf("%v", err)
		return "", false
	}
	v.addf("must be a string, got %s", protocol.Kind(v.raw))
	return "", false
}

// boolean reads true or false.
func (v value) boolean() (bool, bool) {
	switch string(v.raw) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	v.addf("must be true or false, got %s", v.got())
	return false, false
}

// whole reads a number from least to most, written without fraction or
// exponent.
func (v value) whole(least, most int64) (int64, bool) {
	n, err := strconv.ParseInt(string(v.raw), 10, 64)
	switch {
	case err == nil && n > most, errors.Is(err, strconv.ErrRange) && v.raw[0] != '-':
		v.addf("must be at most %d, got %s", most, v.got())
	case err != nil || n < least:
		v.addf("must be a whole number ≥ %d, got %s", least, v.got())
	default:
		return n, true
	}
	return 0, false
}
