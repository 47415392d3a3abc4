package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// bom lists the libraries in a target's programs: the Go modules that the programs themselves
// name, and the npm packages that the console's page is bundled from.
func (r *release) bom(t target, programs map[string]string) (err error) {
	libraries := map[string]cdx.Component{}
	for _, file := range programs {
		info, err := buildinfo.ReadFile(file)
		if err != nil {
			return err
		}
		std := library("golang/std", "std", strings.TrimPrefix(info.GoVersion, "go"))
		libraries[std.BOMRef] = std
		for _, m := range info.Deps {
			if m.Replace != nil { // a module of this repository, such as fleetwire/clients/go
				m = &debug.Module{Path: m.Path, Version: r.version}
			}
			c := library("golang/"+m.Path, m.Path, m.Version)
			// As in go.sum.
			if hash, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(hash) > 0 {
				c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(hash)}}
			}
			libraries[c.BOMRef] = c
		}
	}
	page, err := r.pagePackages()
	if err != nil {
		return err
	}
	for name, version := range page {
		c := library("npm/"+name, name, version)
		libraries[c.BOMRef] = c
	}
	refs := slices.Sorted(maps.Keys(libraries))
	components := make([]cdx.Component, 0, len(refs))
	for _, ref := range refs {
		components = append(components, libraries[ref])
	}
	product := cdx.Component{BOMRef: "fleetwire", Type: cdx.ComponentTypeApplication, Name: "fleetwire", Version: r.version,
		Description: fmt.Sprintf("%s for %s/%s, commit %s", strings.Join(slices.Sorted(maps.Keys(programs)), " and "), t.os, t.name, r.commit),
		Licenses:    &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}}}
	b := cdx.NewBOM()
	b.Metadata = &cdx.Metadata{Timestamp: r.time.Format(time.RFC3339), Component: &product}
	b.Components = &components
	b.Dependencies = &[]cdx.Dependency{{Ref: product.BOMRef, Dependencies: &refs}}
	f, err := os.Create(r.name(t, ".cdx.json"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return cdx.NewBOMEncoder(f, cdx.BOMFileFormatJSON).SetPretty(true).Encode(b)
}

// library is a Go module or an npm package. purl is its package URL, without pkg: and the version.
func library(purl, name, version string) cdx.Component {
	purl = "pkg:" + purl + "@" + version
	return cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: name, Version: version, PackageURL: purl, Scope: cdx.ScopeRequired}
}

// pagePackages are the npm packages in the console's page, with their versions.
func (r *release) pagePackages() (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join(r.root, "console/package.json"))
	if err != nil {
		return nil, err
	}
	var page struct{ Dependencies map[string]string }
	err = json.Unmarshal(text, &page)
	return page.Dependencies, err
}
