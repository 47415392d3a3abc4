package archtest

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// A file is a source file as the rules see it.
type file struct {
	path    string // slashes, relative to the module's root
	dir     string
	lines   int
	text    string    // of a Lua script
	pkg     string    // Go: the package clause's name
	doc     string    // Go: the comment on the package clause
	imports []string  // Go: import paths
	ast     *ast.File // Go: the whole syntax tree
}

func (f *file) isGo() bool { return strings.HasSuffix(f.path, ".go") }

func (f *file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// isTestCode: test files, packages that exist for tests, whose names end in "test"
// like the standard library's httptest, and chaos, a test that is a program.
func (f *file) isTestCode() bool {
	return f.isTest() || strings.HasSuffix(path.Base(f.dir), "test") || f.under("chaos")
}

// under tells whether the file lies in one of the directories or below.
func (f *file) under(dirs ...string) bool {
	for _, dir := range dirs {
		if f.dir == dir || strings.HasPrefix(f.dir, dir+"/") {
			return true
		}
	}
	return false
}

// load reads the module's Go files and Lua scripts, in a fixed order.
func load(root fs.FS) ([]*file, error) {
	var files []*file
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			base := d.Name()
			// What go's ./... leaves out, and what is not ours.
			if name != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") ||
				base == "testdata" || base == "node_modules" || base == "bin" || base == "dist") {
				return fs.SkipDir
			}
			return nil
		}
		ext := path.Ext(name)
		if ext != ".go" && ext != ".lua" {
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		f, err := parse(name, src)
		if err != nil {
			return err
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

func parse(name string, src []byte) (*file, error) {
	f := &file{path: name, dir: path.Dir(name), lines: bytes.Count(src, []byte{'\n'})}
	if !f.isGo() {
		f.text = string(src)
		return f, nil
	}
	syntax, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	f.ast = syntax
	f.pkg = syntax.Name.Name
	f.doc = syntax.Doc.Text()
	for _, spec := range syntax.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		f.imports = append(f.imports, p)
	}
	return f, nil
}

// isStandard: the standard library's import paths have no dot in their first
// element, and are not ours.
func isStandard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".") && first != module
}

// within tells whether the import path is one of the prefixes or below it.
func within(importPath string, prefixes ...string) bool {
	for _, p := range prefixes {
		if importPath == p || strings.HasPrefix(importPath, p+"/") {
			return true
		}
	}
	return false
}
