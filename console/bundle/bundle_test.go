package main

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"fleetwire/pkg/nodejstest"
)

// What is committed in dist is, byte for byte, what src and the pinned npm packages make.
func TestDistIsWhatTheSourcesBuild(t *testing.T) {
	nodejstest.Path(t, 18, 0, "../../console")
	built, err := build("..")
	if err != nil {
		t.Fatal(err)
	}
	committed := map[string][]byte{}
	dist := os.DirFS("../dist")
	err = fs.WalkDir(dist, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			committed[name], err = fs.ReadFile(dist, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want, got := slices.Sorted(maps.Keys(built)), slices.Sorted(maps.Keys(committed)); !slices.Equal(want, got) {
		t.Fatalf("console/dist has %v; the sources build %v: run make console and commit", got, want)
	}
	for name, content := range built {
		if !bytes.Equal(content, committed[name]) {
			t.Errorf("console/dist/%s is not what the sources build: run make console and commit", name)
		}
	}
	for name, content := range built {
		if path.Ext(name) != ".js" {
			continue
		}
		for _, notice := range []string{"preact:\n\nThe MIT License (MIT)", "uplot:\n\nThe MIT License (MIT)"} {
			if !bytes.Contains(content, []byte(notice)) {
				t.Errorf("console/dist/%s lacks the licence that begins %q", name, notice)
			}
		}
	}
}

// HOSTILE: payloads and peer ids are text. The sources have none of the ways to make HTML or code of
// text; the page's policy refuses them besides.
func TestSourcesMakeNoHTMLOfText(t *testing.T) {
	sources := os.DirFS("../src")
	found := 0
	err := fs.WalkDir(sources, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{".js", ".jsx", ".html"}, path.Ext(name)) {
			return err
		}
		found++
		text, err := fs.ReadFile(sources, name)
		for _, way := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "dangerouslySetInnerHTML", "document.write", "eval(", "new Function", "srcdoc", "javascript:", "createContextualFragment", "DOMParser"} {
			if strings.Contains(string(text), way) {
				t.Errorf("console/src/%s uses %s", name, way)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 3 {
		t.Errorf("%d sources are looked at", found)
	}
}
