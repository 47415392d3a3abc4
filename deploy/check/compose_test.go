package check

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

const composeFile = "../compose/compose.yaml"

// env is a .env with the settings that are required.
var env = []string{"REDIS_PASSWORD=r3dis", "GRAFANA_PASSWORD=gr4fana"}

// load reads a compose file as `docker compose config` does.
func load(file string, env ...string) (*types.Project, error) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithEnv(env), cli.WithResolvedPaths(true), cli.WithConsistency(true))
	if err != nil {
		return nil, err
	}
	return options.LoadProject(context.Background())
}

func TestCompose(t *testing.T) {
	p, err := load(composeFile, env...)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range p.Services {
		for _, v := range s.Volumes {
			if v.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(v.Source); err != nil {
				t.Errorf("%s mounts %s: %v", name, v.Source, err)
			}
		}
		if s.Build != nil {
			if _, err := os.Stat(filepath.Join(s.Build.Context, "Dockerfile")); err != nil {
				t.Errorf("%s is built from nothing: %v", name, err)
			}
		}
		if s.Restart != types.RestartPolicyUnlessStopped {
			t.Errorf("%s has restart: %q", name, s.Restart)
		}
	}
	for _, name := range []string{"fanout-1", "fanout-2", "redis-1", "redis-2", "sentinel-1", "sentinel-2", "sentinel-3"} {
		if s := p.Services[name]; !s.ReadOnly || len(s.CapDrop) != 1 || s.CapDrop[0] != "ALL" || len(s.Ports) > 0 {
			t.Errorf("%s: read_only %v, cap_drop %v, ports %v; want a read-only root, no capability and no port", name, s.ReadOnly, s.CapDrop, s.Ports)
		}
	}
	for _, name := range []string{"prometheus", "grafana"} {
		for _, port := range p.Services[name].Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s is published at %q; want this host alone", name, port.HostIP)
			}
		}
	}
}

// The library does look: without a password, and with a mistake, it refuses.
func TestComposeRefuses(t *testing.T) {
	if _, err := load(composeFile); err == nil || !strings.Contains(err.Error(), "write it into .env") {
		t.Errorf("without passwords: %v", err)
	}
	text, err := os.ReadFile(composeFile)
	if err != nil {
		t.Fatal(err)
	}
	for was, now := range map[string]string{"stop_grace_period: 60s": "stop_grace: 60s", "networks: [front, data]": "networks: [front, date]", `"redis-2:/data"`: `"redis-3:/data"`} {
		file := filepath.Join(t.TempDir(), "compose.yaml")
		changed := strings.Replace(string(text), was, now, 1)
		if changed == string(text) {
			t.Fatalf("compose.yaml has no %s", was)
		}
		if err := os.WriteFile(file, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := load(file, env...); err == nil {
			t.Errorf("%s was not found", now)
		}
	}
}

// Docker's own command, where it is.
func TestDockerComposeConfig(t *testing.T) {
	if exec.Command("docker", "compose", "version").Run() != nil {
		t.Skip("SKIPPED: needs docker compose (https://docs.docker.com/compose/install/); the library that it is made of has read the file")
	}
	cmd := exec.Command("docker", "compose", "-f", composeFile, "config", "--quiet")
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
