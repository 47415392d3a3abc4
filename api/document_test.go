package api

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// document is one of the two, or a copy with a mistake in it.
type document struct {
	root     map[string]any
	compiler *jsonschema.Compiler
}

func load(t testing.TB, file string) *document {
	t.Helper()
	return parse(t, text(t, file))
}

func text(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parse(t testing.TB, text string) *document {
	t.Helper()
	d := &document{compiler: jsonschema.NewCompiler()}
	if err := yaml.Unmarshal([]byte(text), &d.root); err != nil {
		t.Fatal(err)
	}
	if d.root["asyncapi"] != nil {
		d.compiler.DefaultDraft(jsonschema.Draft7) // what AsyncAPI's schemas are a superset of
	}
	d.compiler.UseRegexpEngine(compileRegexp)
	if err := d.compiler.AddResource("doc", any(d.root)); err != nil {
		t.Fatal(err)
	}
	return d
}

// compileRegexp compiles a pattern of JSON Schema's, in JavaScript's syntax.
func compileRegexp(pattern string) (jsonschema.Regexp, error) {
	return regexp.Compile(regexp.MustCompile(`\\u([0-9a-f]{4})`).ReplaceAllString(pattern, `\x{$1}`))
}

// at is the value at a path of keys, with references followed on the way, or
// nil. A key may hold slashes.
func (d *document) at(keys ...string) any { return d.descend(d.root, keys...) }

func (d *document) descend(value any, keys ...string) any {
	value = d.follow(value)
	for _, key := range keys {
		m, _ := value.(map[string]any)
		value = d.follow(m[key])
	}
	return value
}

func (d *document) follow(value any) any {
	m, _ := value.(map[string]any)
	ref, ok := m["$ref"].(string)
	if !ok {
		return value
	}
	target, _ := d.descend(d.root, pointerKeys(ref)...).(map[string]any)
	merged := maps.Clone(target) // what stands beside a reference adds to it
	for key, v := range m {
		if key != "$ref" {
			merged[key] = v
		}
	}
	return merged
}

// object is the map at the path, nil where there is none.
func (d *document) object(keys ...string) map[string]any {
	m, _ := d.at(keys...).(map[string]any)
	return m
}

func pointerKeys(ref string) []string {
	keys := strings.Split(strings.TrimPrefix(ref, "#/"), "/")
	for i, key := range keys {
		keys[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(key)
	}
	return keys
}

// validate checks a JSON value against the schema at the path. The error says
// also when there is no schema.
func (d *document) validate(json string, keys ...string) error {
	escaped := make([]string, len(keys))
	for i, key := range keys {
		key = strings.NewReplacer("~", "~0", "/", "~1", "%", "%25", "{", "%7B", "}", "%7D").Replace(key)
		escaped[i] = key
	}
	schema, err := d.compiler.Compile("doc#/" + strings.Join(escaped, "/"))
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(json))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// texts are the strings of an array, sorted.
func texts(list any) []string {
	items, _ := list.([]any)
	var out []string
	for _, item := range items {
		out = append(out, fmt.Sprint(item))
	}
	slices.Sort(out)
	return out
}

// differences says what only one of two sets has.
func differences(what string, documented, real []string) (found []string) {
	for _, v := range documented {
		if !slices.Contains(real, v) {
			found = append(found, fmt.Sprintf("%s: %q is in the document and not in the code", what, v))
		}
	}
	for _, v := range real {
		if !slices.Contains(documented, v) {
			found = append(found, fmt.Sprintf("%s: %q is in the code and not in the document", what, v))
		}
	}
	return found
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// resolve is the path of keys with the references on the way replaced by where
// they lead, as a JSON pointer needs it.
func (d *document) resolve(keys ...string) []string {
	var at []string
	for _, key := range keys {
		for {
			m, _ := d.raw(at).(map[string]any)
			ref, isRef := m["$ref"].(string)
			if _, here := m[key]; here || !isRef {
				break
			}
			at = pointerKeys(ref)
		}
		at = append(slices.Clone(at), key)
	}
	return at
}

func (d *document) raw(keys []string) any {
	var value any = d.root
	for _, key := range keys {
		m, _ := value.(map[string]any)
		value = m[key]
	}
	return value
}
