package infra

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const getTerraform = "SKIPPED: needs terraform ≥ 1.9 (https://developer.hashicorp.com/terraform/install, or brew install hashicorp/tap/terraform)"

// TestMain removes what the tests share.
func TestMain(m *testing.M) {
	code := m.Run()
	if shared.provider != nil {
		_ = shared.provider.stop()
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir)
	}
	os.Exit(code)
}

// environment is what terraform and the provider get. Nothing that the caller's
// shell knows about AWS or Terraform is in it: no test can meet a real account.
func environment() []string {
	own := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return slices.ContainsFunc([]string{"AWS_", "TF_VAR_", "TF_CLI_ARGS", "TF_DATA_DIR=", "TF_WORKSPACE=", "TF_LOG", "TF_REATTACH_PROVIDERS="},
			func(prefix string) bool { return strings.HasPrefix(v, prefix) })
	})
	if os.Getenv("GOGC") == "" {
		// Terraform and the provider spend a third of their time on collecting garbage.
		own = append(own, "GOGC=400")
	}
	return append(own, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_INPUT=0")
}

// terraform runs a command in dir and returns what it prints. It uses the shared
// provider once that has started.
func terraform(dir string, args ...string) (stdout string, err error) {
	cmd := exec.Command("terraform", args...)
	cmd.Dir = dir
	cmd.Env = environment()
	if shared.provider != nil {
		cmd.Env = append(cmd.Env, "TF_REATTACH_PROVIDERS="+shared.provider.reattach)
	}
	var out, errout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errout
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("terraform %s: %w\n%s", strings.Join(args, " "), err, errout.String())
	}
	return out.String(), nil
}

// mirror finds a folder with the aws provider on this machine, for machines that
// do not reach the registry; "" where there is none.
func mirror() string {
	bases := []string{"/opt", "/usr/share", "/usr/local/share", "/usr/lib", "/usr/local/lib", "/var/lib", "/usr/share/terraform", "/usr/local/share/terraform"}
	if home, err := os.UserHomeDir(); err == nil {
		bases = append(bases, home+"/.terraform.d", home+"/.local/share/terraform", home+"/Library/Application Support/io.terraform")
	}
	for _, base := range bases {
		for _, pattern := range []string{base, base + "/*"} {
			found, _ := filepath.Glob(pattern + "/*/hashicorp/aws")
			if len(found) > 0 {
				return filepath.Dir(filepath.Dir(filepath.Dir(found[0])))
			}
		}
	}
	return ""
}

// initialize makes dir usable. The provider comes from a mirror on this machine
// or from the registry; where neither has it, the test is skipped.
func initialize(t *testing.T, dir string) {
	t.Helper()
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip(getTerraform)
	}
	args := []string{"init", "-backend=false", "-no-color"}
	if m := mirror(); m != "" {
		_, err := terraform(dir, append(args, "-plugin-dir="+m)...)
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "no available releases match") {
			t.Fatal(err)
		}
	}
	_, err := terraform(dir, args...)
	if err != nil && strings.Contains(err.Error(), "Failed to query available provider packages") {
		t.Skipf("SKIPPED: needs the provider hashicorp/aws 5 (≥ 5.100) from the registry, or from a mirror such as /opt/NAME/registry.terraform.io/hashicorp/aws: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// copyModule copies infra/terraform without what terraform itself leaves in it.
func copyModule(t *testing.T, to string) {
	t.Helper()
	err := filepath.WalkDir("terraform", func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel("terraform", path)
		if err != nil {
			return err
		}
		switch {
		case d.Name() == ".terraform":
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case d.Name() == ".terraform.lock.hcl":
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

var shared struct {
	once     sync.Once
	dir      string
	provider *provider
	runs     map[string]*run
}

// module is an initialized copy of infra/terraform that tests only read.
func module(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip(getTerraform)
	}
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "fleetwire-terraform-")
		if err != nil {
			t.Fatal(err)
		}
		shared.dir = dir
		copyModule(t, dir)
	})
	if _, err := os.Stat(filepath.Join(shared.dir, ".terraform")); errors.Is(err, os.ErrNotExist) {
		initialize(t, shared.dir)
		p, err := startProvider(shared.dir)
		if err != nil {
			t.Fatal(err)
		}
		shared.provider = p
	}
	return shared.dir
}

// A run is one run block of a test file and what became of it.
type run struct {
	file, name string
	status     string // "pass", "fail", "error", "skip"
	complaints []string
	state      *state // after an apply, with -verbose
}

// terraformTest runs test files ("tests/x.tftest.hcl"; none: all) and returns
// their runs by "file/run". A file that can't be read counts as a run without a
// name.
func terraformTest(t *testing.T, dir string, verbose bool, files ...string) map[string]*run {
	t.Helper()
	args := []string{"test", "-json"}
	if verbose {
		args = append(args, "-verbose")
	}
	for _, f := range files {
		args = append(args, "-filter="+f)
	}
	out, err := terraform(dir, args...)
	runs := map[string]*run{}
	at := func(file, name string) *run {
		key := filepath.ToSlash(file) + "/" + name
		if runs[key] == nil {
			runs[key] = &run{file: file, name: name}
		}
		return runs[key]
	}
	for line := range strings.Lines(out) {
		var e struct {
			Type string
			File string `json:"@testfile"`
			Run  string `json:"@testrun"`
			Test struct {
				Status string
			} `json:"test_run"`
			Diagnostic struct {
				Severity, Summary, Detail string
			}
			State *state `json:"test_state"`
		}
		if json.Unmarshal([]byte(line), &e) != nil {
			continue // a word of terraform's own, before it speaks JSON
		}
		switch {
		case e.Type == "test_run" && e.Test.Status != "":
			at(e.File, e.Run).status = e.Test.Status
		case e.Type == "test_state":
			at(e.File, e.Run).state = e.State
		case e.Type == "diagnostic" && e.Diagnostic.Severity == "error":
			r := at(e.File, e.Run)
			r.complaints = append(r.complaints, e.Diagnostic.Summary+": "+e.Diagnostic.Detail)
			if e.Run == "" {
				r.status = "error"
			}
		}
	}
	if len(runs) == 0 {
		t.Fatalf("terraform test ran nothing: %v\n%s", err, out)
	}
	return runs
}

func TestFormat(t *testing.T) {
	if _, err := exec.LookPath("terraform"); err != nil {
		t.Skip(getTerraform)
	}
	out, err := terraform("terraform", "fmt", "-check", "-recursive", "-no-color")
	if err != nil {
		t.Errorf("not formatted (terraform fmt -recursive infra/terraform does it):\n%s%v", out, err)
	}
}

func TestValidate(t *testing.T) {
	dir := module(t)
	for _, folder := range []string{".", "examples/minimal", "examples/existing-vpc"} {
		t.Run(folder, func(t *testing.T) {
			in := filepath.Join(dir, folder)
			if folder != "." {
				initialize(t, in)
			}
			if out, err := terraform(in, "validate", "-no-color"); err != nil {
				t.Errorf("%s%v", out, err)
			}
		})
	}
}

const wiringFile = "tests/wiring.tftest.hcl"

// moduleRuns runs the module's own tests, once.
func moduleRuns(t *testing.T) map[string]*run {
	t.Helper()
	dir := module(t)
	if shared.runs != nil {
		return shared.runs
	}
	// -verbose prints 13 MB of schemas a run: only for the state that is read.
	runs := terraformTest(t, dir, true, wiringFile)
	maps.Copy(runs, terraformTest(t, dir, false, slices.DeleteFunc(moduleTests(t), func(f string) bool { return f == wiringFile })...))
	shared.runs = runs
	return runs
}

// moduleTests lists the module's own test files, as terraform names them.
func moduleTests(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("terraform/tests")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".tftest.hcl") {
			files = append(files, "tests/"+e.Name())
		}
	}
	return files
}

// The module's own tests: plan values, a mocked apply, wrong variables, and a plan
// with the real provider and keys that are none.
func TestModule(t *testing.T) {
	files := map[string]bool{}
	for key, r := range moduleRuns(t) {
		files[r.file] = true
		t.Run(key, func(t *testing.T) {
			if r.status != "pass" {
				t.Errorf("%s: %s", r.status, strings.Join(r.complaints, "\n"))
			}
		})
	}
	for _, f := range moduleTests(t) {
		if !files[f] {
			t.Errorf("%s ran nothing", f)
		}
	}
}

// No lock file: one made where the provider comes from a mirror names one platform.
func TestNothingOfTerraformsOwnIsKept(t *testing.T) {
	out, err := exec.Command("git", "ls-files", "terraform").Output()
	if err != nil {
		t.Skipf("SKIPPED: needs git and a checkout: %v", err)
	}
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSpace(name)
		if slices.Contains(strings.Split(name, "/"), ".terraform") || strings.HasSuffix(name, ".terraform.lock.hcl") || strings.Contains(name, ".tfstate") {
			t.Errorf("%s is committed", name)
		}
	}
}
