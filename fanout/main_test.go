package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"fleetwire/pkg/program"
	"fleetwire/pkg/redisconn/redistest"
	"fleetwire/pkg/telemetry"
	"fleetwire/pkg/wstest"
)

const patience = 20 * time.Second

const document = `{"apps":[{"id":"app_demo","keys":[{"id":"sk_live_demo","secret":"5ec4e7000000000000000000000000000000000000000001","channelPatterns":["**"],"actions":["publish"]},
 {"id":"pk_live_demo","channelPatterns":["**"],"actions":["subscribe"]}]}]}`

// asProgram makes the test binary the program itself.
const asProgram = "FLEETWIRE_TEST_RUNS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		limitFiles()
		main()
		return
	}
	redistest.VerifyTestMain(m)
}

// One clear line that names the flag, for all that can be wrong at the start.
func TestRefusesToStart(t *testing.T) {
	redisURL := redistest.Start(t).URL()
	ours, others := redistest.NewAuthority(t), redistest.NewAuthority(t)
	secureURL := strings.Replace(ours.StartSecured(true, nil).URL(), "//", "//u:hush-hush@", 1)
	cert, key := ours.Issue(nil)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	wrong := filepath.Join(t.TempDir(), "apps.json")
	if err := os.WriteFile(wrong, []byte(`{"apps":[{"id":"a b","keys":[]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"nothing given", nil, []string{"-apps", "-redis", "localdev"}},
		{"no apps", []string{"-redis", redisURL}, []string{"-apps"}},
		{"no Redis", []string{"-apps", document}, []string{"-redis"}},
		{"no such file", []string{"-apps", "/nowhere/apps.json", "-redis", redisURL}, []string{"-apps: ", "/nowhere/apps.json"}},
		{"a wrong document", []string{"-apps", wrong, "-redis", redisURL}, []string{"-apps: ", "apps[0].id"}},
		{"a wrong document inline", []string{"-apps", `{"apps":[]}`, "-redis", redisURL}, []string{"-apps: "}},
		{"not a Redis URL", []string{"-apps", document, "-redis", "localhost:6379"}, []string{"-redis: ", "redis://"}},
		{"a Redis URL with a bad port", []string{"-apps", document, "-redis", "redis://u:hush-hush@localhost:x"}, []string{"-redis: "}},
		{"nobody there", []string{"-apps", document, "-redis", "redis://u:hush-hush@127.0.0.1:1"}, []string{"-redis: ", "refused"}},
		{"an unknown CA", []string{"-apps", document, "-redis", secureURL}, []string{"-redis: ", "failed to verify certificate", "give the certificate of its CA with -redis-ca"}},
		{"another CA", []string{"-apps", document, "-redis", secureURL, "-redis-ca", others.File}, []string{"-redis: ", "failed to verify certificate"}},
		{"no client certificate", []string{"-apps", document, "-redis", secureURL, "-redis-ca", ours.File}, []string{"-redis: ", "-redis-cert"}},
		{"a user that Redis does not know", []string{"-apps", document, "-redis", secureURL, "-redis-ca", ours.File, "-redis-cert", cert, "-redis-key", key}, []string{"-redis: ", "WRONGPASS"}},
		{"skip_verify", []string{"-apps", document, "-redis", secureURL + "?skip_verify=true"}, []string{"-redis: ", "skip_verify=true", "-redis-insecure"}},
		{"no such CA", []string{"-apps", document, "-redis", secureURL, "-redis-ca", "/nowhere/ca.pem"}, []string{`-redis-ca: "/nowhere/ca.pem" cannot be read: no such file`}},
		{"a key without a certificate", []string{"-apps", document, "-redis", secureURL, "-redis-key", key}, []string{"-redis-key: ", "give both"}},
		{"a certificate without a key", []string{"-apps", document, "-redis", secureURL, "-redis-cert", cert}, []string{"-redis-cert: ", "give both"}},
		{"a CA without TLS", []string{"-apps", document, "-redis", redisURL, "-redis-ca", ours.File}, []string{"-redis-ca: ", "rediss://"}},
		{"the port is taken", []string{"-apps", document, "-redis", redisURL, "-listen", taken.Addr().String()}, []string{"-listen: ", taken.Addr().String()}},
		{"the operations port is taken", []string{"-apps", document, "-redis", redisURL, "-listen", "127.0.0.1:0", "-ops", taken.Addr().String()}, []string{"-ops: ", taken.Addr().String()}},
		{"a console without REST", []string{"-apps", document, "-redis", redisURL, "-console"}, []string{"-console: ", "-control-plane"}},
		{"a bad flag", []string{"-drain", "soon"}, []string{"-drain"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := run(t.Context(), silent(), tt.args)
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if text := err.Error(); strings.Contains(text, "\n") || strings.Contains(text, "hush-hush") || strings.Contains(text, "5ec4e7") {
				t.Errorf("more than a line, or a secret: %q", text)
			}
		})
	}
	if err := run(t.Context(), silent(), []string{"-h"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: error %v", err)
	}
}

// -version needs no settings and prints one line, on standard output.
func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"-version"}, {"--version"}, {"-drain", "soon", "-version"}, {"healthcheck", "-version"}} {
		program := exec.Command(os.Args[0], args...)
		program.Env = append(os.Environ(), asProgram+"=1", "FLEETWIRE_DRAIN=later")
		var stdout, stderr strings.Builder
		program.Stdout, program.Stderr = &stdout, &stderr
		if err := program.Run(); err != nil || stderr.String() != "" {
			t.Errorf("%q: %v, standard error %q", args, err, &stderr)
		}
		if want := regexp.MustCompile(`^fanout \S+ commit \S+ go\S+\n$`); !want.MatchString(stdout.String()) {
			t.Errorf("%q: printed %q, want %v", args, &stdout, want)
		}
	}
}

// The program: it says where it listens, serves, and exits 0 on SIGTERM after
// telling its peers.
func TestProgram(t *testing.T) {
	redisURL := redistest.Start(t).URL()
	program := exec.Command(os.Args[0], "-listen", "127.0.0.1:0", "-ops", "127.0.0.1:0", "-drain", "100ms")
	program.Env = append(os.Environ(), asProgram+"=1", "FLEETWIRE_APPS="+document, "FLEETWIRE_REDIS_URL="+redisURL)
	stderr, err := program.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Process.Kill() }()
	output := bufio.NewReader(stderr)
	line, err := output.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := regexp.MustCompile(` msg=listening address=(\S+) ops=\S+`).FindStringSubmatch(line)
	if address == nil {
		t.Fatalf("the first line is %q", line)
	}

	conn, early, _, err := ws.Dialer{Timeout: patience}.Dial(context.Background(), "ws://"+address[1]+"/v1?key=pk_live_demo")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if early == nil {
		early = bufio.NewReader(conn)
	}
	read := func() ws.Frame {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		f, err := wstest.ReadFrame(early)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	if f := read(); !strings.HasPrefix(string(f.Payload), `{"type":"welcome"`) {
		t.Fatalf("got %s", f.Payload)
	}
	if err := program.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if f := read(); !strings.HasPrefix(string(f.Payload), `{"type":"going_away"`) {
		t.Errorf("got %s", f.Payload)
	}
	f := read()
	if code, _ := ws.ParseCloseFrameData(f.Payload); f.Header.OpCode != ws.OpClose || code != 1001 {
		t.Errorf("got frame %x with code %d, want close 1001", f.Header.OpCode, code)
	}
	_ = conn.Close()
	log, err := output.ReadString(0) // to the end
	if err == nil || strings.Contains(log, "5ec4e7") {
		t.Errorf("the log has a secret:\n%s", log)
	}
	if err := program.Wait(); err != nil {
		t.Errorf("%v, want exit 0; the log:\n%s", err, log)
	}
}

func TestProgramExits1(t *testing.T) {
	program := exec.Command(os.Args[0], "-listen", "127.0.0.1:0")
	program.Env = append(os.Environ(), asProgram+"=1")
	output, err := program.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.HasPrefix(string(output), "fanout: -apps and -redis are required") || strings.Count(string(output), "\n") != 1 {
		t.Errorf("error %v, output %q", err, output)
	}
	help := exec.Command(os.Args[0], "-h")
	help.Env = program.Env
	if output, err := help.CombinedOutput(); err != nil || !strings.Contains(string(output), "-trusted-proxies") {
		t.Errorf("-h: error %v, output %q", err, output)
	}
}

// silent is a process that says nothing to anybody.
func silent() *program.Process {
	return &program.Process{Stdout: telemetry.NewOutput(io.Discard), Stderr: telemetry.NewOutput(io.Discard)}
}
