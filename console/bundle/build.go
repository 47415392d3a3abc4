package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// bundled are the npm packages whose code is in the bundle. Their licences ask for a copy of
// them there.
var bundled = []string{"preact", "uplot"}

// build makes the files of dist: index.html, and under assets/ all that it refers to, with a hash
// of the content in the name, so that browsers may keep them for ever.
func build(folder string) (map[string][]byte, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	licences, err := licences(folder)
	if err != nil {
		return nil, err
	}
	result := api.Build(api.BuildOptions{
		AbsWorkingDir:     folder,
		EntryPoints:       []string{"src/main.jsx", "src/icon.svg"},
		Outdir:            "dist/assets",
		EntryNames:        "[name]-[hash]",
		AssetNames:        "[name]-[hash]",
		Bundle:            true,
		Format:            api.FormatIIFE,
		Target:            api.ES2022,
		Charset:           api.CharsetUTF8,
		MinifyWhitespace:  true,
		MinifyIdentifiers: true,
		MinifySyntax:      true,
		LegalComments:     api.LegalCommentsEndOfFile,
		Footer:            map[string]string{"js": licences},
		JSX:               api.JSXAutomatic,
		JSXImportSource:   "preact",
		Loader:            map[string]api.Loader{".svg": api.LoaderCopy},
		LogLevel:          api.LogLevelSilent,
		TsconfigRaw:       "{}", // of this folder, and none above it
	})
	if problems := append(result.Errors, result.Warnings...); len(problems) > 0 {
		return nil, errors.New(strings.Join(api.FormatMessages(problems, api.FormatMessagesOptions{}), ""))
	}
	files := map[string][]byte{}
	for _, file := range result.OutputFiles {
		name, err := filepath.Rel(filepath.Join(folder, "dist"), file.Path)
		if err != nil {
			return nil, err
		}
		files[filepath.ToSlash(name)] = file.Contents
	}
	files["index.html"], err = index(folder, files)
	return files, err
}

// index is src/index.html, in which assets/main.js stands for the file that was built of it.
func index(folder string, files map[string][]byte) ([]byte, error) {
	page, err := os.ReadFile(filepath.Join(folder, "src", "index.html"))
	if err != nil {
		return nil, err
	}
	for name := range files {
		base, rest, _ := strings.Cut(name, "-")
		plain := base + filepath.Ext(rest)
		if !bytes.Contains(page, []byte(`"`+plain+`"`)) {
			return nil, fmt.Errorf(`src/index.html does not refer to "%s"`, plain)
		}
		page = bytes.ReplaceAll(page, []byte(`"`+plain+`"`), []byte(`"`+name+`"`))
	}
	return page, nil
}

// licences is a comment with the licences of what is bundled.
func licences(folder string) (string, error) {
	var text strings.Builder
	text.WriteString("/*!\n")
	for _, name := range bundled {
		licence, err := os.ReadFile(filepath.Join(folder, "node_modules", name, "LICENSE"))
		if err != nil {
			return "", fmt.Errorf("%w: install the npm packages first (make console does it)", err)
		}
		fmt.Fprintf(&text, "%s:\n\n%s\n\n", name, bytes.TrimSpace(licence))
	}
	return text.String() + "*/", nil
}
