package api

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fleetwire/pkg/nodejstest"
)

const (
	openAPI  = "openapi.yaml"
	asyncAPI = "asyncapi.yaml"
)

// mistake is one in a document: the text that it replaces, once.
type mistake struct{ name, file, right, wrong string }

func (m mistake) text(t testing.TB) string {
	t.Helper()
	before, after, found := strings.Cut(text(t, m.file), m.right)
	if !found {
		t.Fatalf("%s: %s has no %q to put a mistake in", m.name, m.file, m.right)
	}
	return before + m.wrong + after
}

// The linters find nothing in the documents, and something in each copy with a
// mistake in it.
func TestLint(t *testing.T) {
	mistakes := []mistake{
		{"a reference to nowhere", openAPI, `schemas/Token"`, `schemas/Tokens"`},
		{"an operation id twice", openAPI, "operationId: publish", "operationId: createToken"},
		{"an example of the wrong type", openAPI, "expiresAt: 1767225600", "expiresAt: soon"},
		{"an example with a field too many", openAPI, "subscribers: 1 }", "subscribers: 1, heard: 1 }"},
		{"a parameter of another name", openAPI, "- name: peer\n", "- name: pear\n"},
		{"a misspelt keyword", openAPI, "requestBody:", "requestbody:"},
		{"an unknown type", openAPI, "type: integer", "type: int"},
		{"a schema that nobody uses", openAPI, "    Count:\n", "    Unused: { type: string }\n    Count:\n"},
		{"no security scheme of that name", openAPI, "- secretKey: []", "- secret: []"},
		{"a status that is none", openAPI, `"503":`, `"5033":`},
		{"a reference to no message", asyncAPI, "messages/pong\" }", "messages/pang\" }"},
		{"a reference to no schema", asyncAPI, "payload: { $ref: \"#/components/schemas/Pong\" }", "payload: { $ref: \"#/components/schemas/Pang\" }"},
		{"an action that is none", asyncAPI, "action: receive", "action: accept"},
		{"a server without a host", asyncAPI, "host: 127.0.0.1:8080", "hots: 127.0.0.1:8080"},
		{"a schema with a keyword of the wrong type", asyncAPI, "required: [type, code, message]", "required: code"},
		{"a security scheme that is none", asyncAPI, "type: httpApiKey", "type: httpKey"},
		{"an example with a misspelt key", asyncAPI, "- name: byName", "- nam: byName"},
	}
	node := nodejstest.Path(t, 20, 19, "../api/lint")
	dir := t.TempDir()
	args := []string{filepath.Join("lint", "lint.mjs"), openAPI, asyncAPI}
	files := map[string]string{} // of the mistakes
	for _, m := range mistakes {
		name := strings.ReplaceAll(m.name, " ", "-") + ".yaml"
		files[m.name] = filepath.Join(dir, name)
		if err := os.WriteFile(files[m.name], []byte(m.text(t)), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, files[m.name])
	}
	out, err := exec.Command(node, args...).Output()
	if err != nil {
		failed := new(exec.ExitError)
		errors.As(err, &failed)
		t.Fatalf("%v: %s", err, failed.Stderr)
	}
	var problems map[string][]string
	if err := json.Unmarshal(out, &problems); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{openAPI, asyncAPI} {
		if list, linted := problems[file]; !linted || len(list) > 0 {
			t.Errorf("%s (linted: %v):\n%s", file, linted, strings.Join(list, "\n"))
		}
	}
	for _, m := range mistakes {
		if len(problems[files[m.name]]) == 0 {
			t.Errorf("%s: the linter of %s does not see it", m.name, m.file)
		}
	}
}
