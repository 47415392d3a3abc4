package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// target is a system that a release is built for.
type target struct {
	os, arch string // as Go names them
	name     string // the processor in names of files
	packages string // the processor, as nfpm names it
}

// allTargets is what a release is for: servers, and laptops for the command line tool.
var allTargets = []string{"linux/amd64", "linux/arm64", "linux/armv7", "darwin/amd64", "darwin/arm64", "windows/amd64"}

func parseTarget(s string) (target, error) {
	for _, known := range allTargets {
		if s != known {
			continue
		}
		system, arch, _ := strings.Cut(s, "/")
		t := target{os: system, arch: arch, name: arch, packages: arch}
		if arch == "armv7" {
			t.arch, t.packages = "arm", "arm7"
		}
		return t, nil
	}
	return target{}, fmt.Errorf("-targets: %q is not one of %s", s, strings.Join(allTargets, ", "))
}

// programs are the folders of what a target's files hold, by the name of the program. Nodes run
// on Linux.
func (t target) programs() map[string]string {
	switch t.os {
	case "linux":
		return map[string]string{"fanout": "./fanout", "fleetwire": "./cli"}
	case "windows":
		return map[string]string{"fleetwire.exe": "./cli"}
	}
	return map[string]string{"fleetwire": "./cli"}
}

// dir is the folder of what is built for a target.
func (r *release) dir(t target) string { return filepath.Join(r.stage, t.os+"-"+t.name) }

// build compiles the programs of a target, and returns their files by name.
func (r *release) build(t target) (map[string]string, error) {
	built := map[string]string{}
	for name, folder := range t.programs() {
		file := filepath.Join(r.dir(t), name)
		built[name] = file
		if _, err := os.Stat(file); err == nil { // for completions
			continue
		}
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
			"-ldflags", fmt.Sprintf("-s -w -buildid= -X fleetwire/pkg/program.linkedVersion=%s -X fleetwire/pkg/program.linkedCommit=%s", r.version, r.commit),
			"-o", file, folder)
		cmd.Dir = r.root
		// Settings that change the bytes, which a shell or go env -w may have set to other values.
		cmd.Env = append(os.Environ(), "GOOS="+t.os, "GOARCH="+t.arch, "CGO_ENABLED=0", "GOFLAGS=-mod=readonly",
			"GOAMD64=v1", "GOARM64=v8.0", "GOARM=7", "GOEXPERIMENT=", "GOFIPS140=off", "GOWORK=off")
		if said, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build %s: %w\n%s", folder, err, said)
		}
	}
	return built, nil
}

// shells are those that fleetwire writes completion scripts for.
var shells = []string{"bash", "zsh", "fish"}

// completions has a build for this machine write the scripts that shells complete with.
func (r *release) completions() error {
	own, err := r.build(target{os: runtime.GOOS, arch: runtime.GOARCH, name: runtime.GOARCH})
	if err != nil {
		return err
	}
	for _, shell := range shells {
		script, err := exec.Command(own["fleetwire"], "completion", shell).Output()
		if err != nil {
			return fmt.Errorf("fleetwire completion %s: %w", shell, err)
		}
		if err := os.WriteFile(filepath.Join(r.stage, "fleetwire."+shell), script, 0o644); err != nil {
			return err
		}
	}
	return nil
}
