package infra

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// tflint finds what validate lets through: declarations that nothing uses,
// deprecated syntax, missing types and descriptions.
func TestLint(t *testing.T) {
	config, err := filepath.Abs("terraform/.tflint.hcl")
	if err != nil {
		t.Fatal(err)
	}
	tflint, err := filepath.Abs("../bin/tflint")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath(tflint); err != nil {
		if tflint, err = exec.LookPath("tflint"); err != nil {
			t.Skip("SKIPPED: needs tflint (scripts/install-tflint builds it into bin/; it takes some minutes the first time)")
		}
	}
	dir := t.TempDir()
	copyModule(t, dir)
	lint := func() (string, error) {
		cmd := exec.Command(tflint, "--recursive", "--no-color", "--format=compact", "--config="+config)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := lint(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// It does look: a variable that nothing uses is found.
	seed(t, dir, mistake{file: "versions.tf", old: "data \"aws_region\" \"current\" {}\n", new: "data \"aws_region\" \"current\" {}\nvariable \"idle\" {}\n"})
	if out, err := lint(); err == nil {
		t.Errorf("a variable without use, type and description was not found:\n%s", out)
	}
}
