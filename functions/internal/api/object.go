package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/auth"
)

// Object is the JSON object of a request body: the value of each member,
// verbatim. Its methods read one member each. Their errors are invalid_request
// and name the field, what is wrong with it and what would be right. A null is
// a value of the wrong type to all of them but [Object.Object].
type Object struct {
	members map[string][]byte
	within  string // "rollout." if it is the member rollout of a body
}

// ReadObject reads the body of r, which must be a JSON object in at most most
// bytes, with no other fields than known and none of them
// twice. Being strict here is safety: a misspelt "channels" without an error
// would mint a token for everything the key may touch.
//
// Errors are invalid_request: 413 for a body too large, 415 for a Content-Type
// other than JSON or a Content-Encoding, 400 for the rest.
func ReadObject(w http.ResponseWriter, r *http.Request, most int64, known ...string) (Object, error) {
	body, err := readBody(w, r, most)
	if err != nil {
		return Object{}, err
	}
	o, refused, err := read(body, "", known)
	if refused != nil {
		return Object{}, refused
	}
	if err != nil {
		return Object{}, protocol.Errorf(protocol.InvalidRequest, "the body must be a JSON object with the fields %s: %v", strings.Join(known, ", "), err)
	}
	return o, nil
}

// ReadNothing reads the body of r, which must be empty or {}. The errors are those of ReadObject.
func ReadNothing(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r, protocol.MaxBodyBytes)
	if err != nil || len(body) == 0 {
		return err
	}
	none := func(string, []byte) error { return errors.New("it has a field") }
	if err := protocol.ScanObject(body, none); err != nil {
		return protocol.Errorf(protocol.InvalidRequest, "this path takes no fields; leave the body empty, or send {}")
	}
	return nil
}

// read reads an object. Unknown fields, and those that are there twice, are refused; err is
// for what is no object.
func read(object []byte, within string, known []string) (o Object, refused *protocol.Error, err error) {
	o = Object{members: make(map[string][]byte, len(known)), within: within}
	err = protocol.ScanObject(object, func(name string, value []byte) error {
		if refused = o.add(name, value, known); refused != nil {
			return refused
		}
		return nil // a nil *protocol.Error in an error is not nil
	})
	return o, refused, err
}

// ReadItem reads an object that is an item of an array, as [Object.Items] gives it, by the
// rules of ReadObject. what names it in errors: "a message".
func ReadItem(item []byte, what string, known ...string) (Object, error) {
	if item[0] != '{' {
		return Object{}, wrongType(what, item, "an object with the fields "+strings.Join(known, ", "))
	}
	o, refused, err := read(item, "", known)
	if refused != nil {
		return Object{}, refused
	}
	return o, err
}

// Member reads an object within the object, with no other fields than known and none of
// them twice. Errors in it name it, as in rollout.perMinute.
func (o Object) Member(name string, known ...string) (m Object, given bool, err error) {
	value, given := o.members[name]
	if !given {
		return Object{}, false, nil
	}
	if value[0] != '{' {
		return Object{}, true, wrongType(o.within+name, value, "an object with the fields "+strings.Join(known, ", "))
	}
	m, refused, err := read(value, o.within+name+".", known)
	if refused != nil {
		return m, true, refused
	}
	return m, true, err
}

// Items reads an array of 1 to most values, each verbatim. what names them in errors:
// "messages".
func (o Object) Items(name, what string, most int) ([]json.RawMessage, error) {
	want := fmt.Sprintf("an array of 1 to %d %s", most, what)
	value, given := o.members[name]
	if !given {
		return nil, protocol.Errorf(protocol.InvalidRequest, "%s is missing; it must be %s", name, want)
	}
	if value[0] != '[' {
		return nil, wrongType(name, value, want)
	}
	var items []json.RawMessage
	if err := json.Unmarshal(value, &items); err != nil {
		return nil, fmt.Errorf("split %s: %w", name, err)
	}
	if len(items) == 0 || len(items) > most {
		return nil, protocol.Errorf(protocol.InvalidRequest, "%s has %d entries; it must be %s", name, len(items), want)
	}
	return items, nil
}

// add takes in one member, unless it is unknown or there already.
func (o Object) add(name string, value []byte, known []string) *protocol.Error {
	if !slices.Contains(known, name) {
		return protocol.Errorf(protocol.InvalidRequest, "there is no field %s; the fields are %s", Quote(o.within+name), strings.Join(known, ", "))
	}
	if _, twice := o.members[name]; twice {
		return protocol.Errorf(protocol.InvalidRequest, "%s is there twice; send it once", o.within+name)
	}
	o.members[name] = value
	return nil
}

// Raw is the value of name as it was sent, without white space around it.
func (o Object) Raw(name string) (value []byte, given bool) {
	value, given = o.members[name]
	return value, given
}

// String reads a string. If it is no text ([protocol.ErrHalfCharacter]), the
// error has the code invalid.
func (o Object) String(name string, invalid protocol.Code) (s string, given bool, err error) {
	value, given := o.members[name]
	if !given {
		return "", false, nil
	}
	s, err = stringAt(name, value, invalid)
	return s, true, err
}

// Strings reads an array of at most most strings; invalid is as in [Object.String].
func (o Object) Strings(name string, most int, invalid protocol.Code) (texts []string, given bool, err error) {
	value, given := o.members[name]
	if !given {
		return nil, false, nil
	}
	if value[0] != '[' {
		return nil, true, wrongType(name, value, "an array of strings; leave it out to use the key's own")
	}
	var items []json.RawMessage
	if err := json.Unmarshal(value, &items); err != nil {
		return nil, true, fmt.Errorf("split %s: %w", name, err)
	}
	if len(items) > most {
		return nil, true, protocol.Errorf(protocol.InvalidRequest, "%s has %d entries; at most %d are allowed", name, len(items), most)
	}
	texts = make([]string, len(items))
	for i, item := range items {
		if texts[i], err = stringAt(fmt.Sprintf("%s[%d]", name, i), item, invalid); err != nil {
			return nil, true, err
		}
	}
	return texts, true, nil
}

// Int reads a whole number from least to most, unit being what it counts;
// absent is the answer when the field is not there. Only plain digits will do:
// 1.0 and 36e2 are numbers that other readers of the same JSON take differently.
func (o Object) Int(name, unit string, least, most, absent int64) (int64, error) {
	value, given := o.members[name]
	if !given {
		return absent, nil
	}
	want := fmt.Sprintf("a whole number of %s from %d to %d, in plain digits", unit, least, most)
	if protocol.Kind(value) != "a number" {
		return 0, wrongType(o.within+name, value, want)
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < least || n > most || n == 0 && value[0] == '-' {
		return 0, protocol.Errorf(protocol.InvalidRequest, "%s is %s; it must be %s", o.within+name, shorten(string(value)), want)
	}
	return n, nil
}

// Key reads a string of 1 to most bytes that the caller makes up; "": it is not there.
func (o Object) Key(name string, most int) (string, error) {
	key, given, err := o.String(name, protocol.InvalidRequest)
	if err == nil && given && (key == "" || len(key) > most) {
		err = protocol.Errorf(protocol.InvalidRequest, "%s is %d bytes long; it must be 1 to %d bytes", name, len(key), most)
	}
	return key, err
}

// Object reads an object of at most most bytes as compact JSON, and returns it
// so. A null counts as absent; absent is nil.
func (o Object) Object(name string, most int) ([]byte, error) {
	compact, err := auth.CompactObject(o.members[name], most)
	if err != nil {
		return nil, protocol.Errorf(protocol.InvalidRequest, "%s %v", name, err)
	}
	return compact, nil
}

// stringAt reads a string. If it is no text its error has the code invalid.
func stringAt(where string, value []byte, invalid protocol.Code) (string, error) {
	s, err := protocol.DecodeString(value)
	if errors.Is(err, protocol.ErrHalfCharacter) {
		return "", protocol.Errorf(invalid, "%s %v", where, err)
	}
	if err != nil {
		return "", wrongType(where, value, "a string")
	}
	return s, nil
}

func wrongType(where string, value []byte, want string) *protocol.Error {
	return protocol.Errorf(protocol.InvalidRequest, "%s is %s; it must be %s", where, protocol.Kind(value), want)
}

// Quote quotes what a caller sent, for an error message; of a long text only
// the beginning.
func Quote(s string) string { return strconv.Quote(shorten(s)) }

func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	cut := most
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
