package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/blakesmith/ar"
	rpmutils "github.com/sassoftware/go-rpmutils"
)

// linuxPackage is what the tests read of a deb or an rpm.
type linuxPackage struct {
	name, version, arch string
	files               map[string]entry // by path, without the leading slash
	configs             []string         // files that an upgrade keeps if they have changes
	scripts             map[string]string
}

// installed are the files of a package whose place and mode matter.
var installed = map[string]fs.FileMode{
	"usr/bin/fanout":                                     0o755,
	"usr/bin/fleetwire":                                  0o755,
	"usr/lib/systemd/system/fleetwire.service":           0o644,
	"usr/lib/sysusers.d/fleetwire.conf":                  0o644,
	"etc/fleetwire":                                      fs.ModeDir | 0o755,
	"etc/fleetwire/fanout.env":                           0o640,
	"usr/share/bash-completion/completions/fleetwire":    0o644,
	"usr/share/fish/vendor_completions.d/fleetwire.fish": 0o644,
	"usr/share/doc/fleetwire/copyright":                  0o644,
	"usr/share/doc/fleetwire/deploy-server.md":           0o644,
}

func (p linuxPackage) test(t *testing.T) {
	if p.name != "fleetwire" || !strings.HasPrefix(p.version, "1.2.3-") {
		t.Errorf("it is %s %s, want fleetwire 1.2.3-1", p.name, p.version)
	}
	for name, mode := range installed {
		if e, ok := p.files[name]; !ok || e.mode != mode {
			t.Errorf("%s has the mode %v, want %v", name, e.mode, mode)
		}
	}
	for name, e := range p.files {
		if e.user != "root" || e.group != "root" || !e.at.Equal(committed) || e.mode.Perm()&0o022 != 0 {
			t.Errorf("%s: %s:%s %v %v", name, e.user, e.group, e.mode, e.at)
		}
	}
	if len(p.configs) != 1 || p.configs[0] != "/etc/fleetwire/fanout.env" {
		t.Errorf("the configuration files are %q", p.configs)
	}
	for _, name := range []string{"fanout", "fleetwire"} {
		testVersion(t, name, p.files["usr/bin/"+name].bytes)
	}
	for name, from := range map[string]string{"after install": "postinstall.sh", "before removal": "preremove.sh", "after removal": "postremove.sh"} {
		want, err := os.ReadFile(filepath.Join("../../deploy/package", from))
		if err != nil {
			t.Fatal(err)
		}
		if p.scripts[name] != string(want) {
			t.Errorf("%s, it runs\n%s\nwant %s", name, p.scripts[name], from)
		}
	}
}

// readDeb reads an ar with two tars: control, and data, which are the files.
func readDeb(t *testing.T, file string) (p linuxPackage) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	members := map[string]map[string]entry{}
	for r := ar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if name, ok := strings.CutSuffix(h.Name, ".tar.gz"); ok {
			members[name] = readTar(t, r)
		}
	}
	control := members["control"]
	for line := range strings.Lines(string(control["control"].bytes)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Package":
			p.name = value
		case "Version":
			p.version = value + "-"
		case "Architecture":
			p.arch = value
		}
	}
	if p.arch != runtime.GOARCH {
		t.Errorf("it is for %s", p.arch)
	}
	p.files = members["data"]
	p.configs = strings.Fields(string(control["conffiles"].bytes))
	p.scripts = map[string]string{"after install": string(control["postinst"].bytes), "before removal": string(control["prerm"].bytes), "after removal": string(control["postrm"].bytes)}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		if control[script].mode != 0o755 {
			t.Errorf("%s has the mode %v", script, control[script].mode)
		}
	}
	return p
}

// readRPM reads an rpm, whose digests must be right.
func readRPM(t *testing.T, file string) (p linuxPackage) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := rpmutils.Verify(bytes.NewReader(b), nil); err != nil {
		t.Error(err)
	}
	r, err := rpmutils.ReadRpm(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	nevra, err := r.Header.GetNEVRA()
	if err != nil {
		t.Fatal(err)
	}
	p = linuxPackage{name: nevra.Name, version: nevra.Version + "-" + nevra.Release, arch: nevra.Arch, files: map[string]entry{}, scripts: map[string]string{}}
	if want := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]; p.arch != want {
		t.Errorf("it is for %s, want %s", p.arch, want)
	}
	for name, tag := range map[string]int{"after install": rpmutils.POSTIN, "before removal": rpmutils.PREUN, "after removal": rpmutils.POSTUN} {
		if p.scripts[name], err = r.Header.GetString(tag); err != nil {
			t.Error(err)
		}
	}
	payload, err := r.PayloadReaderExtended()
	if err != nil {
		t.Fatal(err)
	}
	for {
		info, err := payload.Next()
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(payload)
		if err != nil {
			t.Fatal(err)
		}
		mode := fs.FileMode(info.Mode() & 0o7777)
		if info.Mode()&0o170000 == 0o040000 {
			mode |= fs.ModeDir
		}
		p.files[strings.TrimPrefix(info.Name(), "/")] = entry{mode, info.UserName(), info.GroupName(), time.Unix(int64(info.Mtime()), 0), content}
		if want := rpmutils.RPMFILE_CONFIG | rpmutils.RPMFILE_NOREPLACE; info.Flags()&want == want {
			p.configs = append(p.configs, info.Name())
		}
	}
}

// The scripts of packages, with fakes in place of all programs, and a folder of the test in
// place of the system's.
func TestScripts(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		args         []string
		missing      string // a program or a file that the system does not have
		fails        string // a command that fails
		want         string
	}{
		{name: "install", script: "postinstall.sh", args: []string{"configure"}, missing: "/etc/fleetwire/apps.json",
			want: "systemd-sysusers fleetwire.conf\nsystemctl daemon-reload\nsystemctl try-restart fleetwire.service\nfleetwire: next, make /etc/fleetwire/apps.json: see /usr/share/doc/fleetwire/deploy-server.md\n"},
		{name: "upgrade", script: "postinstall.sh", args: []string{"configure", "1.2.2"},
			want: "systemd-sysusers fleetwire.conf\nsystemctl daemon-reload\nsystemctl try-restart fleetwire.service\n"},
		{name: "upgrade to a node that does not start", script: "postinstall.sh", args: []string{"configure", "1.2.2"}, fails: "systemctl try-restart fleetwire.service",
			want: "systemd-sysusers fleetwire.conf\nsystemctl daemon-reload\nsystemctl try-restart fleetwire.service\nfleetwire: the node did not start again: see journalctl -u fleetwire\n"},
		{name: "install in an image, where systemd does not run", script: "postinstall.sh", args: []string{"configure"}, missing: "/run/systemd/system",
			want: "systemd-sysusers fleetwire.conf\n"},
		{name: "install without systemd-sysusers, with the user", script: "postinstall.sh", args: []string{"1"}, missing: "systemd-sysusers",
			want: "systemctl daemon-reload\nsystemctl try-restart fleetwire.service\n"},
		{name: "install without systemd-sysusers, without the user", script: "postinstall.sh", args: []string{"1"}, missing: "systemd-sysusers", fails: "getent passwd fleetwire",
			want: "useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin fleetwire\nsystemctl daemon-reload\nsystemctl try-restart fleetwire.service\n"},
		{name: "before an upgrade of a deb", script: "preremove.sh", args: []string{"upgrade", "1.2.4"}},
		{name: "before an upgrade of an rpm", script: "preremove.sh", args: []string{"1"}},
		{name: "before the removal of a deb", script: "preremove.sh", args: []string{"remove"}, want: "systemctl disable --now fleetwire.service\n"},
		{name: "before the removal of an rpm", script: "preremove.sh", args: []string{"0"}, want: "systemctl disable --now fleetwire.service\n"},
		{name: "before the removal, without the unit", script: "preremove.sh", args: []string{"remove"}, fails: "systemctl disable --now fleetwire.service", want: "systemctl disable --now fleetwire.service\n"},
		{name: "before the removal from an image", script: "preremove.sh", args: []string{"remove"}, missing: "/run/systemd/system"},
		{name: "after the removal", script: "postremove.sh", args: []string{"remove"}, want: "systemctl daemon-reload\n"},
		{name: "after the removal from an image", script: "postremove.sh", args: []string{"remove"}, missing: "/run/systemd/system"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("../../deploy/package", tt.script))
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			script := string(text)
			for _, file := range []string{"/run/systemd/system", "/etc/fleetwire/apps.json"} {
				here := dir + file
				script = strings.ReplaceAll(strings.ReplaceAll(script, "-d "+file, "-d "+here), "-e "+file, "-e "+here)
				if file == tt.missing {
					continue
				}
				if err := os.MkdirAll(here, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			bin := filepath.Join(dir, "bin")
			if err := os.Mkdir(bin, 0o755); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"systemctl", "systemd-sysusers", "getent", "useradd"} {
				if name == tt.missing {
					continue
				}
				fake := fmt.Sprintf("#!/bin/sh\necho \"%s $*\"\n[ \"%s $*\" != \"%s\" ]\n", name, name, tt.fails)
				if err := os.WriteFile(filepath.Join(bin, name), []byte(fake), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, tt.script)
			if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			command(t, "", "sh", "-n", file)
			cmd := exec.Command("/bin/sh", append([]string{file}, tt.args...)...)
			cmd.Env = []string{"PATH=" + bin}
			if said, err := cmd.CombinedOutput(); err != nil || string(said) != tt.want {
				t.Errorf("%v\n%s\nwant\n%s", err, said, tt.want)
			}
		})
	}
}
