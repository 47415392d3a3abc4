package main

import (
	"archive/zip"
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	root    = "../.."
	maxSize = 5_250_000 // bytes; the client of a Redis Cluster takes some 190,000 of them
)

// program is the built program: compressing zips under the race detector, as this
// test runs, takes ten times as long.
var program = sync.OnceValues(func() (string, error) {
	file := filepath.Join(os.TempDir(), fmt.Sprintf("fleetwire-package-%d", os.Getpid()))
	if said, err := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", file, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, said)
	}
	return file, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if file, err := program(); err == nil {
		_ = os.Remove(file)
	}
	os.Exit(code)
}

// packageIn runs the program in a module's folder and returns what it reports.
func packageIn(t *testing.T, dir string, args ...string) string {
	t.Helper()
	file, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	report, err := cmd.Output()
	if err != nil {
		t.Fatalf("package %q: %v\n%s", args, err, &stderr)
	}
	return string(report)
}

func TestEveryZip(t *testing.T) {
	names, err := functions(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"publish", "tokens"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not among %v", want, names)
		}
	}
	for arch, machine := range map[string]elf.Machine{"arm64": elf.EM_AARCH64, "amd64": elf.EM_X86_64} {
		out := t.TempDir()
		report := packageIn(t, root, "-arch", arch, "-out", out)
		if n := strings.Count(report, "\n"); n != len(names) {
			t.Errorf("reported %d lines for %d functions:\n%s", n, len(names), report)
		}
		if left, err := os.ReadDir(out); err != nil || len(left) != len(names) {
			t.Errorf("%d files for %d functions, %v", len(left), len(names), err)
		}
		for _, name := range names {
			t.Run(arch+"/"+name, func(t *testing.T) {
				checkZip(t, filepath.Join(out, name+".zip"), machine)
			})
		}
	}
}

func checkZip(t *testing.T, file string, machine elf.Machine) {
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > maxSize {
		t.Errorf("%d bytes, at most %d", info.Size(), maxSize)
	}
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if len(z.File) != 1 || z.File[0].Name != "bootstrap" || z.File[0].Mode() != 0o755 || !z.File[0].Modified.Equal(modified) {
		t.Fatalf("holds %d files, the first %s %v %v; want bootstrap, executable, of %v", len(z.File), z.File[0].Name, z.File[0].Mode(), z.File[0].Modified, modified)
	}
	r, err := z.File[0].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	binary, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	program, err := elf.NewFile(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	if program.Machine != machine {
		t.Errorf("for %v, want %v", program.Machine, machine)
	}
	for _, p := range program.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("is linked dynamically")
		}
	}
	built, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range built.Settings {
		if strings.HasPrefix(s.Key, "vcs") {
			t.Errorf("knows its commit (%s), so that every commit would be a deployment", s.Key)
		}
	}
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(binary, []byte(here+"/")) {
		t.Errorf("knows that it was built in %s", here)
	}
}

// The same module, copied elsewhere, with files of another age, built by somebody
// with another environment, makes the same bytes.
func TestReproducible(t *testing.T) {
	const name = "tokens"
	first := t.TempDir()
	packageIn(t, root, "-out", first, name)

	elsewhere := filepath.Join(t.TempDir(), "another place")
	copyModule(t, root, elsewhere)
	t.Setenv("GOFLAGS", "-buildvcs=true -tags=other")
	t.Setenv("CGO_ENABLED", "1")
	t.Setenv("GOARM64", "v9.0")
	t.Setenv("GOARCH", "386")
	t.Setenv("TZ", "Pacific/Kiritimati")
	second := t.TempDir()
	packageIn(t, elsewhere, "-out", second, name)
	a, err := os.ReadFile(filepath.Join(first, name+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(second, name+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%d and %d bytes, which differ", len(a), len(b))
	}
}

// copyModule copies what go build reads.
func copyModule(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if d.IsDir() {
			if base := d.Name(); base != ".." && strings.HasPrefix(base, ".") || base == "node_modules" || base == "testdata" {
				return filepath.SkipDir
			}
			return os.MkdirAll(target, 0o755)
		}
		switch ext := filepath.Ext(path); {
		case ext != ".go" && ext != ".lua" && ext != ".mod" && ext != ".sum", strings.HasSuffix(path, "_test.go"):
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(target, content, 0o644); err != nil {
			return err
		}
		old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
		return os.Chtimes(target, old, old)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWrongArguments(t *testing.T) {
	for want, try := range map[string]func() error{
		"Lambda runs arm64 and amd64": func() error { return run(root, t.TempDir(), "riscv64", nil, io.Discard) },
		`no function "token"`:         func() error { return run(root, t.TempDir(), "arm64", []string{"token"}, io.Discard) },
		"run it in the module's folder": func() error {
			return run(t.TempDir(), t.TempDir(), "arm64", nil, io.Discard)
		},
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

// A build that fails leaves no zip behind that could be deployed.
func TestAFailedBuildLeavesNoZip(t *testing.T) {
	module, out := t.TempDir(), t.TempDir()
	dir := filepath.Join(module, "functions", "x", "bootstrap")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		filepath.Join(module, "go.mod"): "module x\n",
		filepath.Join(dir, "main.go"):   "package main\n\nfunc main() { undefined() }\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := run(module, out, "arm64", nil, io.Discard); err == nil || !strings.Contains(err.Error(), "undefined") {
		t.Errorf("error %v, want what the compiler says", err)
	}
	if left, err := os.ReadDir(out); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
