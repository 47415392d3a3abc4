package suite

import (
	"archive/zip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const pythonClient = "../python"

// TestPython puts the Python client through the suite.
func TestPython(t *testing.T) {
	runSuite(t, []string{pythonPath(t), "clients/python/tests/driver.py"}, "PYTHONDONTWRITEBYTECODE=1")
}

// pythonPath is a Python that can run the Python client.
func pythonPath(t *testing.T) string {
	t.Helper()
	return pythonThat(t, "import sys, websockets.exceptions; assert sys.version_info >= (3, 11)", "no Python >= 3.11 that can import websockets", "python3-websockets")
}

// pythonThat is a Python that can run a line. Without one the test is skipped, and says which
// package of Debian has what is missing.
func pythonThat(t *testing.T, line, missing, debian string) string {
	t.Helper()
	for _, p := range []string{os.Getenv("FLEETWIRE_PYTHON"), "python3", "/usr/bin/python3"} {
		if p != "" && exec.Command(p, "-c", line).Run() == nil {
			return p
		}
	}
	t.Skipf("SKIPPED: %s; to get it: scripts/install-test-deps, or apt-get install %s", missing, debian)
	return ""
}

// python runs a program of Python's in the client's directory, without leaving anything there.
func python(t *testing.T, path, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PYTHONPATH=.", "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("python3 %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestPythonUnits runs the client's own tests, on a clock that waiting moves.
func TestPythonUnits(t *testing.T) {
	t.Parallel()
	out := python(t, pythonPath(t), pythonClient, "-W", "error::ResourceWarning", "-m", "unittest", "discover", "-b", "-s", "tests")
	if !strings.Contains(out, "\nOK\n") || strings.Contains(out, "Ran 0 tests") {
		t.Errorf("no test ran:\n%s", out)
	}
}

// TestPythonTypes checks the client's types, and what its tests do with them.
func TestPythonTypes(t *testing.T) {
	t.Parallel()
	path := pythonThat(t, "import mypy, websockets.exceptions", "no Python that can import mypy and websockets", "mypy python3-websockets")
	python(t, path, pythonClient, "-m", "mypy", "--cache-dir", t.TempDir(), "fleetwire", "tests")
}

// TestPythonPackage builds the wheel without a network, and tells the README's story with
// what is in it.
func TestPythonPackage(t *testing.T) {
	t.Parallel()
	path := pythonPath(t)
	builder := pythonThat(t, "import setuptools, wheel, pip", "no Python that can import pip, setuptools and wheel", "python3-pip python3-setuptools python3-wheel")
	source := t.TempDir() // setuptools leaves files beside what it builds
	if err := os.CopyFS(source, os.DirFS(pythonClient)); err != nil {
		t.Fatal(err)
	}
	python(t, builder, source, "-m", "pip", "wheel", "--no-index", "--no-build-isolation", "--no-deps", "--quiet", "--wheel-dir", source, ".")
	wheels, err := filepath.Glob(filepath.Join(source, "fleetwire-*-py3-none-any.whl"))
	if err != nil || len(wheels) != 1 {
		t.Fatalf("the wheels are %v (%v), want one", wheels, err)
	}
	installed := t.TempDir()
	metadata := unzip(t, wheels[0], installed)
	for _, line := range []string{"Name: fleetwire", "Requires-Python: >=3.11", "Requires-Dist: websockets", "License-File: LICENSE", "Classifier: License :: OSI Approved :: Apache Software License", "Classifier: Typing :: Typed", "# Fleetwire for Python"} {
		if !strings.Contains(metadata, "\n"+line) {
			t.Errorf("the wheel's metadata has no line that begins with %q:\n%.1000s", line, metadata)
		}
	}
	for _, name := range []string{"__init__.py", "client.py", "py.typed"} {
		if _, err := os.Stat(filepath.Join(installed, "fleetwire", name)); err != nil {
			t.Error(err)
		}
	}
	readme := filepath.Join(pythonClient, "README.md")
	dir := readmePrograms(t, readme, "python", "#")
	tellStory(t, readme, dir, path, "PYTHONPATH="+installed, "PYTHONDONTWRITEBYTECODE=1")
}

// unzip unpacks a wheel, which is how it is installed, and returns its metadata.
func unzip(t *testing.T, wheel, to string) (metadata string) {
	t.Helper()
	archive, err := zip.OpenReader(wheel)
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if err := os.CopyFS(to, archive); err != nil {
		t.Fatal(err)
	}
	named := slices.IndexFunc(archive.File, func(f *zip.File) bool { return strings.HasSuffix(f.Name, ".dist-info/METADATA") })
	if named < 0 {
		t.Fatal("the wheel has no METADATA")
	}
	file, err := archive.File[named].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := io.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	return "\n" + string(text)
}
