// Package builds the AWS Lambda functions: for each folder functions/NAME with a
// bootstrap, a NAME.zip that holds one file, bootstrap, as the runtime
// provided.al2023 wants it.
//
// The same sources and the same Go make the same zip, to the byte, in any folder
// and at any time: otherwise every build would look like a change to deploy.
//
//	go run ./scripts/package [-arch arm64|amd64] [-out dist] [NAME…]
package main

import (
	"archive/zip"
	"compress/flate"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// modified is the time of every file in every zip: the earliest that a zip can say.
var modified = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

func main() {
	arch := flag.String("arch", "arm64", "arm64 or amd64")
	out := flag.String("out", "dist", "folder for the zips")
	flag.Parse()
	if err := run(".", *out, *arch, flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "package:", err)
		os.Exit(1)
	}
}

// run packages the named functions of the module in root, or all when there are
// no names.
func run(root, out, arch string, names []string, report io.Writer) error {
	if arch != "arm64" && arch != "amd64" {
		return fmt.Errorf("-arch %q: Lambda runs arm64 and amd64", arch)
	}
	all, err := functions(root)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !slices.Contains(all, name) {
			return fmt.Errorf("there is no function %q; there are %v", name, all)
		}
	}
	if len(names) == 0 {
		names = all
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		file := filepath.Join(out, name+".zip")
		size, err := pack(root, name, arch, file)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Fprintf(report, "%s  %s  %.1f MB\n", file, arch, float64(size)/1e6)
	}
	return nil
}

// functions lists the folders in functions/ that have a bootstrap.
func functions(root string) ([]string, error) {
	mains, err := filepath.Glob(filepath.Join(root, "functions", "*", "bootstrap", "main.go"))
	if err != nil {
		return nil, err
	}
	if len(mains) == 0 {
		return nil, errors.New("no functions/NAME/bootstrap/main.go here; run it in the module's folder")
	}
	var names []string
	for _, path := range mains {
		names = append(names, filepath.Base(filepath.Dir(filepath.Dir(path))))
	}
	return names, nil
}

// pack builds one function and zips it; it returns the zip's size in bytes.
func pack(root, name, arch, file string) (int64, error) {
	dir, err := os.MkdirTemp("", "fleetwire-package-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "bootstrap")
	if err := build(root, name, arch, binary); err != nil {
		return 0, err
	}
	temporary := file + ".part" // a zip is there whole or not at all
	if err := write(temporary, binary); err != nil {
		return 0, errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, file); err != nil {
		return 0, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func build(root, name, arch, binary string) error {
	cmd := exec.Command("go", "build",
		"-tags", "lambda.norpc", // leaves out the protocol of a runtime that is gone
		"-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=",
		"-o", binary, "./functions/"+name+"/bootstrap")
	cmd.Dir = root
	// Settings that change the bytes, which a shell may have set to other values.
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0",
		"GOFLAGS=", "GOAMD64=v1", "GOARM64=v8.0", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, said)
	}
	return nil
}

func write(file, binary string) (err error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	z := zip.NewWriter(f)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	header := &zip.FileHeader{Name: "bootstrap", Method: zip.Deflate, Modified: modified}
	header.SetMode(0o755) // with any umask
	w, err := z.CreateHeader(header)
	if err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil {
		return err
	}
	return z.Close()
}
