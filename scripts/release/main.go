// Package main builds a release: for each target an archive, an SBOM (CycloneDX) and, for Linux,
// a deb and an rpm; the Helm chart; and the checksums of all files. It is a module of its own, so
// that nfpm and its dependencies stay out of Fleetwire's go.mod.
//
// The same commit and the same Go make the same bytes, in any folder and at any time.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

func main() {
	root := flag.String("root", "../..", "folder of the sources")
	out := flag.String("out", "../../dist/release", "folder for the release, empty or new")
	targets := flag.String("targets", strings.Join(allTargets, ","), "systems to build for, separated by commas")
	version := flag.String("version", "", "version of the release, such as v1.2.3 (default the tag of the commit, or a pseudo-version after the last tag)")
	dirty := flag.Bool("dirty", false, "allow a checkout with changes, for a try; the version then ends in +dirty")
	flag.Parse()
	if err := run(*root, *out, strings.Split(*targets, ","), *version, *dirty); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release is what all its files share.
type release struct {
	root, out, stage string
	source
}

func run(root, out string, names []string, version string, dirty bool) error {
	targets := make([]target, len(names))
	for i, name := range names {
		var err error
		if targets[i], err = parseTarget(name); err != nil {
			return err
		}
	}
	if left, err := os.ReadDir(out); err == nil && len(left) > 0 {
		return fmt.Errorf("-out %s has files in it; remove it, or name another folder", out)
	}
	from, err := readSource(root, version, dirty)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	stage, err := os.MkdirTemp("", "fleetwire-release-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(stage)
	r := &release{root: root, out: out, stage: stage, source: from}
	if err := r.completions(); err != nil {
		return err
	}
	for i, t := range targets {
		if err := r.target(t); err != nil {
			return fmt.Errorf("%s: %w", names[i], err)
		}
	}
	if err := r.chart(); err != nil {
		return fmt.Errorf("the chart: %w", err)
	}
	return r.checksums()
}

// target builds the files of one target.
func (r *release) target(t target) error {
	programs, err := r.build(t)
	if err != nil {
		return err
	}
	if err := errors.Join(r.archive(t, programs), r.bom(t, programs)); err != nil || t.os != "linux" {
		return err
	}
	return r.packages(t)
}

// name is a file of the release: fleetwire_1.2.3_linux_amd64.tar.gz.
func (r *release) name(t target, ending string) string {
	return filepath.Join(r.out, "fleetwire_"+r.plain()+"_"+t.os+"_"+t.name+ending)
}

// source is what a release is made of.
type source struct {
	version string // with its v
	commit  string
	time    time.Time // of the commit: the age of every file
}

// plain is the version without its v.
func (s source) plain() string { return strings.TrimPrefix(s.version, "v") }

// readSource asks git. A checkout with changes is no release.
func readSource(root, version string, dirty bool) (source, error) {
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			err = fmt.Errorf("git %s: %w: %s", args[0], err, exit.Stderr)
		}
		return strings.TrimSpace(string(out)), err
	}
	said, err := git("show", "-s", "--format=%H %ct", "HEAD")
	if err != nil {
		return source{}, err
	}
	commit, seconds, _ := strings.Cut(said, " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return source{}, err
	}
	s := source{version: version, commit: commit, time: time.Unix(unix, 0).UTC()}
	if s.version == "" {
		// Without a tag before it, describe fails.
		last, _ := git("describe", "--tags", "--match", "v[0-9]*.[0-9]*.[0-9]*", "--abbrev=0")
		here, _ := git("describe", "--tags", "--match", "v[0-9]*.[0-9]*.[0-9]*", "--exact-match")
		s.version = versionOf(last, here, commit, s.time)
	}
	if s.version != semver.Canonical(s.version) || s.version == "" {
		return source{}, fmt.Errorf("the version %q is not like v1.2.3", s.version)
	}
	if dirty {
		s.version, s.commit = s.version+"+dirty", s.commit+"+dirty"
		return s, nil
	}
	changed, err := git("status", "--porcelain")
	if err == nil && changed != "" {
		err = errors.New("the checkout has changes: commit them, or try with -dirty\n" + changed)
	}
	return s, err
}

// versionOf is the tag at the commit, or else Go's pseudo-version, which is after the last tag
// and before the next: v1.2.4-0.20261127070206-0123456789ab.
func versionOf(last, here, commit string, at time.Time) string {
	if here != "" {
		return here
	}
	return module.PseudoVersion(semver.Major(last), last, at, commit[:12])
}
