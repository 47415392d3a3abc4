package deploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// testModule tests a module with its own dependencies, which go test ./... leaves out. passed is
// a test of it that must not be skipped. Of the standard library it takes the packages that are
// compiled for other programs as well; the rest is compiled without optimizations, in half the
// time: it runs for a second.
func testModule(t *testing.T, dir, passed string) {
	t.Parallel()
	cmd := exec.Command("go", "test", "-trimpath", "-count=1", "-v", "-ldflags=-w", "-gcflags=all=-N -l", "-gcflags=std=", "-gcflags=github.com/klauspost/...=", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go test ./... in %s: %v\n%s", dir, err, out)
	}
	for _, skipped := range regexp.MustCompile(`SKIPPED: .*`).FindAllString(string(out), -1) {
		t.Log(skipped)
	}
	if !bytes.Contains(out, []byte("--- PASS: "+passed)) {
		t.Errorf("%s did not run:\n%s", passed, out)
	}
}

func TestChartAndComposeFile(t *testing.T) {
	testModule(t, "check", "TestChartsObjects/all_of_it")
}

func TestRelease(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: needs Linux, where the programs of a release can run")
	}
	testModule(t, "../scripts/release", "TestRelease/the_same_bytes")
}

// unit is the systemd unit, with a program that is there.
func unit(t *testing.T, changes ...string) (file string) {
	t.Helper()
	text, err := os.ReadFile("systemd/fleetwire.service")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	changes = append(changes, "ExecStart=/usr/bin/fanout", "ExecStart="+program)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(string(text), changes[i]) {
			t.Fatalf("the unit has no %q", changes[i])
		}
	}
	file = filepath.Join(t.TempDir(), "fleetwire.service")
	if err := os.WriteFile(file, []byte(strings.NewReplacer(changes...).Replace(string(text))), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("SKIPPED: needs systemd-analyze (sudo apt-get install systemd)")
	}
	out, err := exec.Command("systemd-analyze", args...).CombinedOutput()
	return string(out), err
}

func TestUnit(t *testing.T) {
	t.Parallel()
	if out, err := analyze(t, "verify", "--man=no", unit(t)); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// It does look.
	if out, _ := analyze(t, "verify", "--man=no", unit(t, "RestartSec=2", "RestartSec=soon\nRestartDelay=2")); !strings.Contains(out, "soon") || !strings.Contains(out, "RestartDelay") {
		t.Errorf("mistakes were not found:\n%s", out)
	}
}

// systemd's own measure of what a service could do if it were taken over: 0 to 10.
func TestUnitIsHardened(t *testing.T) {
	t.Parallel()
	if out, err := analyze(t, "security", "--offline=true", "--no-pager", "--threshold=15", unit(t)); err != nil {
		t.Errorf("the exposure is over 1.5: %v\n%s", err, out)
	}
	if out, err := analyze(t, "security", "--offline=true", "--no-pager", "--threshold=15", unit(t, "NoNewPrivileges=yes\n", "", "ProtectSystem=strict\n", "")); err == nil {
		t.Errorf("a weaker unit passes, too:\n%s", out)
	}
}

// The drain ends before systemd kills the node, and each setting is one.
func TestUnitAgreesWithItsSettings(t *testing.T) {
	text, err := os.ReadFile("systemd/fleetwire.service")
	if err != nil {
		t.Fatal(err)
	}
	env, err := os.ReadFile("systemd/fanout.env")
	if err != nil {
		t.Fatal(err)
	}
	documented, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z_]+)=(.*)$`).FindAllStringSubmatch(string(env), -1) {
		settings[m[1]] = m[2]
		if !bytes.Contains(documented, []byte("`"+m[1]+"`")) {
			t.Errorf("docs/operations.md has no %s", m[1])
		}
	}
	drain, err := time.ParseDuration(settings["FLEETWIRE_DRAIN"])
	if err != nil {
		t.Fatal(err)
	}
	stop := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(string(text))
	if stop == nil {
		t.Fatal("the unit has no TimeoutStopSec in seconds")
	}
	allowed, _ := time.ParseDuration(stop[1] + "s")
	// Deliveries of sinks take up to 15 s.
	if least := drain + 20*time.Second; allowed < least {
		t.Errorf("TimeoutStopSec is %v for a drain of %v; want at least %v", allowed, drain, least)
	}
	apps := regexp.MustCompile(`(?m)^ConditionPathExists=(.*)$`).FindStringSubmatch(string(text))
	if apps == nil || apps[1] != settings["FLEETWIRE_APPS"] {
		t.Errorf("the unit waits for %q, and the apps document is %s", apps, settings["FLEETWIRE_APPS"])
	}
}

// Prometheus' own tool reads the configuration of compose.
func TestPrometheusConfiguration(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: needs promtool (sudo apt-get install prometheus)")
	}
	text, err := os.ReadFile("compose/prometheus.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs("prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	check := func(config string) (string, error) {
		file := filepath.Join(t.TempDir(), "prometheus.yaml")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(promtool, "check", "config", file).CombinedOutput()
		return string(out), err
	}
	config := strings.Replace(string(text), "/etc/prometheus/alerts.yaml", rules, 1)
	if out, err := check(config); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
	if out, err := check(strings.Replace(config, "static_configs", "static", 1)); err == nil {
		t.Errorf("a mistake was not found:\n%s", out)
	}
}
