//go:build linux

package system

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fleetwire/pkg/apps"
)

func TestAppsDocumentIsValid(t *testing.T) {
	d, err := apps.Parse(appsDocument())
	if err != nil {
		t.Fatal(err)
	}
	if app := d.Apps()[1]; app.Limits.ConnectionMessagesPerSec != 100 {
		t.Errorf("the hostile app may send %v frames a second, want the default", app.Limits.ConnectionMessagesPerSec)
	}
	if app := d.Apps()[0]; app.Limits.RESTPerSec < 1e6 || app.Plan.MaxMessagesPerPeriod < 1e9 || app.Keys[0].Actions.List() == nil {
		t.Errorf("%+v has limits that the benchmark could meet", app)
	}
}

func TestParseKilobytes(t *testing.T) {
	const smaps = "5581-7ffd ---p 00000000 00:00 0 [rollup]\nRss:               17612 kB\nPss:                9000 kB\n"
	if got, err := parseKilobytes([]byte(smaps), "Rss:"); err != nil || got != 17612<<10 {
		t.Errorf("%d, %v", got, err)
	}
	for _, bad := range []string{"", "Pss: 1 kB\n", "Rss: x kB\n"} {
		if got, err := parseKilobytes([]byte(bad), "Rss:"); err == nil {
			t.Errorf("%q: %d, no error", bad, got)
		}
	}
}

func TestMemoryIsAvailable(t *testing.T) {
	if n := AvailableMemory(); n < 1<<20 {
		t.Errorf("%d bytes are available", n)
	}
}

func TestSettingsOfTheCallerAreNotMeasured(t *testing.T) {
	got := withoutSettings([]string{"PATH=/bin", "FLEETWIRE_LOG_LEVEL=debug", "CENTRIFUGO_LOG_LEVEL=debug", "HOME=/"})
	if strings.Join(got, " ") != "PATH=/bin HOME=/" {
		t.Errorf("%q", got)
	}
}

func TestFreeAddressesAreFreeAndDiffer(t *testing.T) {
	all, err := freeAddresses(50)
	if err != nil || len(all) != 50 {
		t.Fatalf("%q, %v", all, err)
	}
	for _, a := range all {
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
	}
}

func TestAPeerThatIsNotBuiltSaysHow(t *testing.T) {
	programs["imagined"] = []string{peers + "imagined"}
	defer delete(programs, "imagined")
	if why := Absent("imagined"); why != "bin/peers/imagined is not built: make bench-peers builds it" {
		t.Errorf("%q", why)
	}
}

func TestAProcessIsMeasuredAndEnded(t *testing.T) {
	e := &Env{Dir: t.TempDir()}
	p, err := e.start("busy", nil, "/bin/sh", "-c", "while :; do :; done")
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	for used, deadline := time.Duration(0), time.Now().Add(20*time.Second); used < time.Millisecond; {
		if used, err = p.cpu(); err != nil || time.Now().After(deadline) {
			t.Fatalf("a busy process has used %v, %v", used, err)
		}
	}
	if n, err := p.rss(); err != nil || n < 64<<10 || n > 1<<30 {
		t.Errorf("a shell's memory: %d, %v", n, err)
	}
	p.stop()
	if p.running() {
		t.Error("it runs after stop")
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err == nil {
		t.Error("it can be signalled after stop")
	}
}

func TestAServerThatDoesNotStartSaysWhy(t *testing.T) {
	e := &Env{Dir: t.TempDir()}
	a, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.start("broken", []string{a}, "/bin/sh", "-c", "echo the port is taken; exit 1")
	if err == nil || !strings.Contains(err.Error(), "broken: ended at once") || !strings.Contains(err.Error(), "the port is taken") {
		t.Errorf("%v", err)
	}
	if _, err := e.start("absent", nil, "/nonexistent/server"); err == nil {
		t.Error("a program that is not there starts")
	}
}

// Another process may take an address between its being found free and being used.
func TestASystemWhoseAddressIsTakenIsStartedAgain(t *testing.T) {
	for said, want := range map[string]int{"Error: Address already in use": startAttempts, "no such option": 1} {
		dir := t.TempDir()
		starts := filepath.Join(dir, "starts")
		script := "#!/bin/sh\necho >> " + starts + "\necho " + said + "\nexit 1\n"
		if err := os.WriteFile(filepath.Join(dir, "mosquitto"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir)
		_, err := (&Env{Dir: dir}).Start(Mosquitto, 1)
		if err == nil || !strings.Contains(err.Error(), said) {
			t.Errorf("%v", err)
		}
		if got, _ := os.ReadFile(starts); len(got) != want {
			t.Errorf("%q: started %d times, want %d", said, len(got), want)
		}
	}
}

func TestAnUnknownSystem(t *testing.T) {
	if _, err := (&Env{Dir: t.TempDir()}).Start("carrier pigeon", 1); err == nil || !strings.Contains(err.Error(), "carrier pigeon") {
		t.Errorf("%v", err)
	}
}
