package suite

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// object is a JSON object.
type object = map[string]any

// difference says where got does not have what want asks for; "" where it has. An object
// must have the fields of want, and may have others; everything else must be equal.
// {"$between":[a,b]} is a number from a to b, and {"$present":true} anything but null.
func difference(path string, want, got any) string {
	switch w := want.(type) {
	case object:
		if bounds, ok := w["$between"].([]any); ok && len(bounds) == 2 {
			n, isNumber := got.(float64)
			least, _ := bounds[0].(float64)
			most, _ := bounds[1].(float64)
			if !isNumber || n < least || n > most {
				return fmt.Sprintf("%s is %v, want a number from %v to %v", path, got, least, most)
			}
			return ""
		}
		if present, ok := w["$present"].(bool); ok {
			if present != (got != nil) {
				return fmt.Sprintf("%s is %v, want present: %v", path, got, present)
			}
			return ""
		}
		g, ok := got.(object)
		if !ok {
			return fmt.Sprintf("%s is %v, want an object", path, got)
		}
		for _, name := range slices.Sorted(maps.Keys(w)) {
			if d := difference(path+"."+name, w[name], g[name]); d != "" {
				return d
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Sprintf("%s is %v, want a list of %d", path, got, len(w))
		}
		for i := range w {
			if d := difference(fmt.Sprintf("%s.%d", path, i), w[i], g[i]); d != "" {
				return d
			}
		}
		return ""
	default:
		if !reflect.DeepEqual(want, got) {
			return fmt.Sprintf("%s is %v, want %v", path, got, want)
		}
		return ""
	}
}

// dig returns what lies at a path such as answers.0.data.
func dig(from any, path string) (any, error) {
	at := from
	for step := range strings.SplitSeq(path, ".") {
		switch v := at.(type) {
		case object:
			at = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return nil, fmt.Errorf("%s: no %s in a list of %d", path, step, len(v))
			}
			at = v[i]
		default:
			at = nil
		}
		if at == nil {
			return nil, fmt.Errorf("there is no %s in %v", path, from)
		}
	}
	return at, nil
}

// filled is a copy of v in which each string "$name" is the kept value of that name.
func filled(v any, kept object) (any, error) {
	switch v := v.(type) {
	case string:
		name, ok := strings.CutPrefix(v, "$")
		if !ok {
			return v, nil
		}
		value, ok := kept[name]
		if !ok {
			return nil, fmt.Errorf("nothing is kept as %s", v)
		}
		return value, nil
	case object:
		to := object{}
		for name, value := range v {
			value, err := filled(value, kept)
			if err != nil {
				return nil, err
			}
			to[name] = value
		}
		return to, nil
	case []any:
		to := make([]any, len(v))
		for i := range v {
			value, err := filled(v[i], kept)
			if err != nil {
				return nil, err
			}
			to[i] = value
		}
		return to, nil
	default:
		return v, nil
	}
}

// A matcher that finds no difference would let every client pass.
func TestDifference(t *testing.T) {
	got := object{"a": 1.0, "b": object{"c": "x", "d": nil}, "e": []any{1.0, object{"f": true}}}
	for _, same := range []object{
		{}, {"a": 1.0}, {"b": object{"c": "x"}}, {"e": []any{1.0, object{}}}, {"a": object{"$between": []any{1.0, 2.0}}},
		{"a": object{"$present": true}}, {"z": object{"$present": false}}, {"b": object{"d": nil}}, {"z": nil},
	} {
		if d := difference("it", same, got); d != "" {
			t.Errorf("%v: %s", same, d)
		}
	}
	for _, other := range []object{
		{"a": 2.0}, {"a": "1"}, {"b": object{"c": "y"}}, {"b": object{"d": 1.0}}, {"e": []any{1.0}}, {"e": []any{1.0, object{"f": false}}},
		{"a": object{"$between": []any{2.0, 3.0}}}, {"b": object{"$between": []any{0.0, 3.0}}}, {"a": object{"$present": false}}, {"z": object{"$present": true}}, {"b": 1.0}, {"a": object{}},
	} {
		if difference("it", other, got) == "" {
			t.Errorf("%v: no difference found", other)
		}
	}
}

func TestFilled(t *testing.T) {
	got, err := filled(object{"a": "$x", "b": []any{"$y", "z"}}, object{"x": 1.0, "y": object{"k": true}})
	if d := difference("it", object{"a": 1.0, "b": []any{object{"k": true}, "z"}}, got); d != "" || err != nil {
		t.Error(d, err)
	}
	if _, err := filled([]any{"$missing"}, object{}); err == nil {
		t.Error("a name that nothing is kept as was taken")
	}
}
