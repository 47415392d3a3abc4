package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// With this in its environment, the test program is the release program.
const asRelease = "FLEETWIRE_TEST_AS_RELEASE"

func TestMain(m *testing.M) {
	if os.Getenv(asRelease) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// target of the tests: its programs can run here, and compiling them for make check's other
// tests has filled Go's cache.
var testTarget = "linux/" + runtime.GOARCH

// A release of a tagged commit, for one target; and a second one from a clone in another
// place with other settings, which must have the same bytes.
func TestRelease(t *testing.T) {
	sources := commitSources(t)
	out := makeRelease(t, sources)
	name := "fleetwire_1.2.3_linux_" + runtime.GOARCH
	want := []string{"SHA256SUMS", "fleetwire-1.2.3.tgz", name + ".cdx.json", name + ".deb", name + ".rpm", name + ".tar.gz"}
	sums := checksums(t, out)
	if got := slices.Sorted(maps.Keys(sums)); !slices.Equal(got, want) {
		t.Fatalf("the release is %q, want %q", got, want)
	}
	t.Run("checksums", func(t *testing.T) { command(t, out, "sha256sum", "--check", "--strict", "SHA256SUMS") })
	t.Run("archive", func(t *testing.T) { testArchive(t, filepath.Join(out, name+".tar.gz"), name) })
	t.Run("SBOM", func(t *testing.T) {
		testBOM(t, filepath.Join(out, name+".cdx.json"), filepath.Join(out, name+".tar.gz"))
	})
	t.Run("chart", func(t *testing.T) { testChart(t, filepath.Join(out, "fleetwire-1.2.3.tgz")) })
	t.Run("deb", func(t *testing.T) { readDeb(t, filepath.Join(out, name+".deb")).test(t) })
	t.Run("rpm", func(t *testing.T) { readRPM(t, filepath.Join(out, name+".rpm")).test(t) })
	t.Run("the same bytes", func(t *testing.T) {
		elsewhere := filepath.Join(t.TempDir(), "another place")
		command(t, "", "git", "clone", "-q", sources, elsewhere)
		again := checksums(t, makeRelease(t, elsewhere, "TZ=Pacific/Kiritimati", "GOFLAGS=-tags=other", "GOAMD64=v3", "GOARM64=v9.0", "GOMAXPROCS=1", "SOURCE_DATE_EPOCH=1"))
		for name, sum := range sums {
			if again[name] != sum {
				t.Errorf("%s has other bytes", name)
			}
		}
	})
}

// committed is when the tests' release was committed.
var committed = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// commitSources copies the files of the checkout, with their changes, into a repository with one
// commit, which has the tag v1.2.3.
func commitSources(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	for name := range strings.SplitSeq(command(t, "../..", "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00") {
		from := filepath.Join("../..", name)
		info, err := os.Lstat(from)
		if name == "" || errors.Is(err, fs.ErrNotExist) { // removed, and not committed
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if !info.Mode().IsRegular() {
			t.Fatalf("%s is not a file: %v", name, info.Mode())
		}
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, b, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	at := committed.Format(time.RFC3339)
	git := func(args ...string) {
		t.Helper()
		command(t, folder, "env", append([]string{"GIT_AUTHOR_DATE=" + at, "GIT_COMMITTER_DATE=" + at, "git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"}, args...)...)
	}
	git("init", "-q")
	git("add", "--force", ".") // .gitignore has names of some committed files
	git("commit", "-q", "-m", "all")
	git("tag", "v1.2.3")
	return folder
}

// makeRelease runs the program, and returns the folder of the release.
func makeRelease(t *testing.T, root string, env ...string) (out string) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "dist")
	cmd := exec.Command(os.Args[0], "-root", root, "-out", out, "-targets", testTarget)
	cmd.Env = append(append(os.Environ(), asRelease+"=1"), env...)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, said)
	}
	return out
}

func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// checksums are those of all files in a folder.
func checksums(t *testing.T, dir string) map[string]string {
	t.Helper()
	sums := map[string]string{}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range files {
		b, err := os.ReadFile(filepath.Join(dir, d.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sums[d.Name()] = fmt.Sprintf("%x", sha256.Sum256(b))
	}
	return sums
}

// entry is a file or a folder of an archive or a package.
type entry struct {
	mode        fs.FileMode
	user, group string
	at          time.Time
	bytes       []byte
}

// readTar reads a tar in gzip: its entries by path, without a leading "./" or "/".
func readTar(t *testing.T, from io.Reader) map[string]entry {
	t.Helper()
	z, err := gzip.NewReader(from)
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]entry{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s is of %d:%d, want 0:0", h.Name, h.Uid, h.Gid)
		}
		entries[strings.Trim(path.Clean("/"+h.Name), "/")] = entry{h.FileInfo().Mode(), h.Uname, h.Gname, h.ModTime, b}
	}
}

func readTarFile(t *testing.T, file string) map[string]entry {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries := readTar(t, f)
	for name, e := range entries {
		if !e.at.Equal(committed) {
			t.Errorf("%s is of %v, want %v", name, e.at, committed)
		}
	}
	return entries
}

// testVersion writes a program to a file, and has it say its version.
func testVersion(t *testing.T, name string, program []byte) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, program, 0o755); err != nil {
		t.Fatal(err)
	}
	if said := command(t, "", file, "-version"); !regexp.MustCompile(`^` + name + ` v1\.2\.3 commit [0-9a-f]{40} go1\.\S+\n$`).MatchString(said) {
		t.Errorf("%s -version: %s", name, said)
	}
	return file
}

func testArchive(t *testing.T, file, folder string) {
	entries := readTarFile(t, file)
	for _, name := range []string{"fanout", "fleetwire"} {
		e := entries[folder+"/"+name]
		if e.mode != 0o755 {
			t.Errorf("%s has the mode %v", name, e.mode)
		}
		testVersion(t, name, e.bytes)
	}
	for _, name := range []string{"LICENSE", "deploy/systemd/fleetwire.service", "deploy/caddy/Caddyfile", "completion/fleetwire.bash"} {
		if e := entries[folder+"/"+name]; e.mode != 0o644 || len(e.bytes) == 0 {
			t.Errorf("%s: %d bytes of the mode %v", name, len(e.bytes), e.mode)
		}
	}
}

func testChart(t *testing.T, file string) {
	entries := readTarFile(t, file)
	if chart := string(entries["fleetwire/Chart.yaml"].bytes); !strings.Contains(chart, "\nversion: 1.2.3\n") || !strings.Contains(chart, "\nappVersion: v1.2.3\n") {
		t.Errorf("the chart is\n%s", chart)
	}
	files := map[string]content{}
	if err := collect(files, "fleetwire", "../../deploy/helm/fleetwire"); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(entries)), slices.Sorted(maps.Keys(files)); !slices.Equal(got, want) {
		t.Errorf("the chart has %q, want %q", got, want)
	}
}

// testBOM holds an SBOM against what go version -m says of the programs in the archive.
func testBOM(t *testing.T, file, archive string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		BOMFormat  string
		Components []struct {
			Name, Version, PURL string
			Hashes              []struct{ Content string }
		}
	}
	if err := json.Unmarshal(text, &bom); err != nil || bom.BOMFormat != "CycloneDX" {
		t.Fatalf("%v: %.200s", err, text)
	}
	var got []string
	for _, c := range bom.Components {
		got = append(got, c.PURL)
		if !strings.HasSuffix(c.PURL, "/"+c.Name+"@"+c.Version) {
			t.Errorf("%+v", c)
		}
		fromRegistry := strings.HasPrefix(c.PURL, "pkg:golang/") && c.Name != "std" && !strings.HasPrefix(c.Name, "fleetwire/")
		if fromRegistry != (len(c.Hashes) == 1 && len(c.Hashes[0].Content) == sha256.Size*2) {
			t.Errorf("%s has the hashes %v", c.PURL, c.Hashes)
		}
	}
	want := map[string]bool{"pkg:golang/std@" + strings.TrimPrefix(runtime.Version(), "go"): true, "pkg:npm/preact@": true, "pkg:npm/uplot@": true}
	folder := strings.TrimSuffix(filepath.Base(archive), ".tar.gz")
	entries := readTarFile(t, archive)
	for _, name := range []string{"fanout", "fleetwire"} {
		said := command(t, "", "go", "version", "-m", testVersion(t, name, entries[folder+"/"+name].bytes))
		for _, m := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(said, -1) {
			if strings.HasPrefix(m[1], "fleetwire/") {
				m[2] = "v1.2.3"
			}
			want["pkg:golang/"+m[1]+"@"+m[2]] = true
		}
	}
	if len(want) < 20 {
		t.Fatalf("go version -m names few modules: %q", slices.Sorted(maps.Keys(want)))
	}
	// The versions of npm packages are those of console/package.json.
	for i, purl := range got {
		if rest, version, _ := strings.Cut(purl, "@"); strings.HasPrefix(purl, "pkg:npm/") && strings.Count(version, ".") == 2 {
			got[i] = rest + "@"
		}
	}
	if slices.Sort(got); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		t.Errorf("the SBOM has\n%q, want\n%q", got, slices.Sorted(maps.Keys(want)))
	}
}

// Windows opens zips.
func TestZip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.zip")
	if err := writeZip(file, "a", map[string]content{"b": {[]byte("B"), 0o644}, "c/d": {[]byte("D"), 0o755}}, committed); err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	got := map[string]string{}
	for _, f := range z.File {
		b, err := fs.ReadFile(z, f.Name)
		if err != nil || !f.Modified.Equal(committed) {
			t.Errorf("%s is of %v: %v", f.Name, f.Modified, err)
		}
		got[f.Name] = string(b)
	}
	if want := map[string]string{"a/b": "B", "a/c/d": "D"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
