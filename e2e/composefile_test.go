package e2e

import (
	"bytes"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// composeFile is deploy/compose/compose.yaml, as far as its parts can be started as
// processes.
type composeFile struct {
	Services map[string]composeService
	Networks map[string]struct {
		IPAM struct{ Config []struct{ Subnet string } }
	}
}

type composeService struct {
	Command     []string
	Environment map[string]string
	Volumes     []string
	Healthcheck struct{ Test []string }
	Networks    yaml.Node
	StopGrace   string         `yaml:"stop_grace_period"`
	ULimits     map[string]int `yaml:"ulimits"`
}

// composition starts the parts of compose.yaml on this machine: each service has an address
// of its own in 127.0.0.0/8, as it has one in its network, so that ports stay as they are.
type composition struct {
	t      testing.TB
	dir    string // holds what containers have in volumes
	file   composeFile
	prefix string // of the addresses, "127.200"
}

// loadComposition reads compose.yaml with the settings of .env.
func loadComposition(t testing.TB, env map[string]string) *composition {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: needs Linux, where all of 127.0.0.0/8 is there from the start")
	}
	c := &composition{t: t, dir: t.TempDir(), prefix: "127." + strconv.Itoa(64+mathrand.IntN(190))}
	variable := regexp.MustCompile(`\$\{([A-Z_]+)(:-[^}]*|:\?[^}]*)?\}`)
	text := variable.ReplaceAllStringFunc(c.read("compose/compose.yaml"), func(s string) string {
		parts := variable.FindStringSubmatch(s)
		value, set := env[parts[1]]
		if !set && !strings.HasPrefix(parts[2], ":-") {
			t.Fatalf("compose.yaml needs %s in .env", parts[1])
		}
		if !set {
			value = strings.TrimPrefix(parts[2], ":-")
		}
		return value
	})
	if err := yaml.Unmarshal([]byte(text), &c.file); err != nil {
		t.Fatalf("compose.yaml: %v", err)
	}
	return c
}

// read reads a file of deploy/ with the addresses of this composition.
func (c *composition) read(name string) string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "deploy", name))
	if err != nil {
		c.t.Fatal(err)
	}
	return c.local(string(b))
}

// local replaces the addresses of the networks, and the names of services that others find
// by name.
func (c *composition) local(text string) string {
	text = strings.ReplaceAll(text, "172.30.", c.prefix+".")
	if strings.Contains(text, "services:") { // there they are the services' own names
		return text
	}
	return strings.NewReplacer("fanout-1:", c.prefix+".0.101:", "fanout-2:", c.prefix+".0.102:").Replace(text)
}

// service is one of the file's services.
func (c *composition) service(name string) composeService {
	c.t.Helper()
	s, found := c.file.Services[name]
	if !found {
		c.t.Fatalf("compose.yaml has no service %s", name)
	}
	return s
}

// mounted is the file of deploy/ that the service has at a path, and wants it to be
// mounted there read-only.
func (c *composition) mounted(service, path string) string {
	c.t.Helper()
	for _, volume := range c.service(service).Volumes {
		if from, ok := strings.CutSuffix(volume, ":"+path+":ro"); ok {
			return filepath.Join("compose", from)
		}
	}
	c.t.Fatalf("compose.yaml mounts nothing read-only at %s in %s", path, service)
	return ""
}

// put writes a file into the folder of the composition.
func (c *composition) put(name, text string) string {
	path := filepath.Join(c.dir, name)
	write(c.t, path, text)
	return path
}

// part is a started service.
type part struct {
	name    string
	t       testing.TB
	cmd     *exec.Cmd
	printed output
	exited  chan struct{}
}

// launch starts a program as a service, with the environment that the file says and more.
func (c *composition) launch(service string, more []string, program string, args ...string) *part {
	c.t.Helper()
	p := &part{name: service, t: c.t, cmd: exec.Command(program, args...), exited: make(chan struct{})}
	p.cmd.Dir = c.dir
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir}
	for name, value := range c.service(service).Environment {
		p.cmd.Env = append(p.cmd.Env, name+"="+c.local(value))
	}
	p.cmd.Env = append(p.cmd.Env, more...)
	in, out, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	_ = out.Close()
	read := make(chan struct{})
	go func() { defer close(read); p.printed.readFrom(in) }()
	go func() { defer close(p.exited); _ = p.cmd.Wait() }()
	c.t.Cleanup(func() {
		p.end(syscall.SIGKILL)
		<-read
		_ = in.Close()
		if c.t.Failed() {
			text := p.printed.text()
			c.t.Logf("%s printed\n%s", service, text[max(0, len(text)-3000):])
		}
	})
	return p
}

// end sends the signal, and waits for the end.
func (p *part) end(signal syscall.Signal) {
	_ = p.cmd.Process.Signal(signal)
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Errorf("%s has not ended %v after %v", p.name, patience, signal)
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// needs finds a program, or skips.
func needs(t testing.TB, program string) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("SKIPPED: needs %s (sudo apt-get install %[1]s)", program)
	return ""
}

// The two networks and the fixed addresses hang together, which no tool checks.
func TestComposeFileAgreesWithItself(t *testing.T) {
	c := loadComposition(t, composeSettings)
	front := c.file.Networks["front"].IPAM.Config
	if len(front) != 1 || c.service("fanout-1").Environment["FLEETWIRE_TRUSTED_PROXIES"] != front[0].Subnet {
		t.Errorf("FLEETWIRE_TRUSTED_PROXIES is %s, and Caddy's network %v", c.service("fanout-1").Environment["FLEETWIRE_TRUSTED_PROXIES"], front)
	}
	for name, s := range c.file.Services {
		address, fixed := s.Environment["ADDRESS"]
		if !fixed {
			continue
		}
		var networks bytes.Buffer
		if err := yaml.NewEncoder(&networks).Encode(&s.Networks); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(networks.String(), "ipv4_address: "+address) {
			t.Errorf("%s: ADDRESS is %s, and its network %s", name, address, &networks)
		}
	}
	// .env.example has each variable that the file needs.
	example := c.read("compose/.env.example")
	for name := range composeSettings {
		if !regexp.MustCompile(`(?m)^` + name + `=`).MatchString(example) {
			t.Errorf(".env.example has no %s", name)
		}
	}
	for _, name := range []string{"fanout-1", "fanout-2"} {
		s := c.service(name)
		drain, err := time.ParseDuration(s.Environment["FLEETWIRE_DRAIN"])
		if err != nil {
			t.Fatal(err)
		}
		grace, err := time.ParseDuration(s.StopGrace)
		if err != nil {
			t.Fatal(err)
		}
		// Deliveries of sinks take up to 15 s.
		if least := drain + 20*time.Second; grace < least {
			t.Errorf("%s: a stop_grace_period of %v for a drain of %v; want at least %v", name, grace, drain, least)
		}
		if s.ULimits["nofile"] < 100_000 {
			t.Errorf("%s: %d open files", name, s.ULimits["nofile"])
		}
	}
}

// composeSettings is a .env.
var composeSettings = map[string]string{
	"FLEETWIRE_HOST":   proxyHost,
	"REDIS_PASSWORD":   fmt.Sprintf("%sredis%08x", secretMark, mathrand.Uint32()),
	"GRAFANA_PASSWORD": secretMark + "grafana",
}
