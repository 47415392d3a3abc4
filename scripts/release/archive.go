package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// documents are the files and folders of the sources that archives have beside the programs.
var documents = []string{
	"LICENSE", "README.md", "CHANGELOG.md", "docs/operations.md", "docs/deploy-server.md", "docs/deploy-kubernetes.md",
	"deploy/caddy", "deploy/nginx", "deploy/haproxy", "deploy/systemd",
}

// archive packs a target's programs with their documents, in one folder.
func (r *release) archive(t target, programs map[string]string) error {
	files := map[string]content{}
	for name, file := range programs {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		files[name] = content{b, 0o755}
	}
	for _, name := range documents {
		if err := collect(files, name, filepath.Join(r.root, name)); err != nil {
			return err
		}
	}
	for _, shell := range shells {
		if err := collect(files, "completion/fleetwire."+shell, filepath.Join(r.stage, "fleetwire."+shell)); err != nil {
			return err
		}
	}
	folder := filepath.Base(r.name(t, ""))
	if t.os == "windows" {
		return writeZip(r.name(t, ".zip"), folder, files, r.time)
	}
	return writeTar(r.name(t, ".tar.gz"), folder, files, r.time)
}

// content is a file in an archive.
type content struct {
	bytes []byte
	mode  int64
}

// collect adds a file, or all files of a folder but hidden ones, which systems and editors leave
// and git ignores.
func collect(files map[string]content, name, from string) error {
	return filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		rest, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		files[path.Join(name, filepath.ToSlash(rest))] = content{b, 0o644}
		return nil
	})
}

// writeTar writes files in the order of their names, all of one age and of no user in
// particular, so that the bytes depend on nothing else.
func writeTar(file, folder string, files map[string]content, at time.Time) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z := gzip.NewWriter(f)
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		c := files[name]
		if err := w.WriteHeader(&tar.Header{Name: path.Join(folder, name), Size: int64(len(c.bytes)), Mode: c.mode, ModTime: at, Format: tar.FormatUSTAR}); err != nil {
			return err
		}
		if _, err := w.Write(c.bytes); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), z.Close())
}

// writeZip does the same for Windows.
func writeZip(file, folder string, files map[string]content, at time.Time) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := zip.NewWriter(f)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: path.Join(folder, name), Method: zip.Deflate, Modified: at})
		if err != nil {
			return err
		}
		if _, err := entry.Write(files[name].bytes); err != nil {
			return err
		}
	}
	return w.Close()
}

// chart packs the Helm chart, with the version of the release.
func (r *release) chart() error {
	files := map[string]content{}
	if err := collect(files, ".", filepath.Join(r.root, "deploy/helm/fleetwire")); err != nil {
		return err
	}
	chart := string(files["Chart.yaml"].bytes)
	for was, now := range map[string]string{"\nversion: 0.0.0\n": "\nversion: " + r.plain() + "\n", "\nappVersion: v0.0.0\n": "\nappVersion: " + r.version + "\n"} {
		if strings.Count(chart, was) != 1 {
			return fmt.Errorf("Chart.yaml has no line %q", strings.TrimSpace(was))
		}
		chart = strings.Replace(chart, was, now, 1)
	}
	files["Chart.yaml"] = content{[]byte(chart), 0o644}
	return writeTar(filepath.Join(r.out, "fleetwire-"+r.plain()+".tgz"), "fleetwire", files, r.time) // Helm names it so
}

// checksums writes SHA256SUMS, which sha256sum -c reads.
func (r *release) checksums() error {
	found, err := os.ReadDir(r.out)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, d := range found {
		b, err := os.ReadFile(filepath.Join(r.out, d.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(b), d.Name())
		fmt.Printf("%6d kB  %s\n", (len(b)+999)/1000, d.Name())
	}
	return os.WriteFile(filepath.Join(r.out, "SHA256SUMS"), []byte(sums.String()), 0o644)
}
