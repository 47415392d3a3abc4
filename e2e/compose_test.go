package e2e

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

// The parts of deploy/compose/compose.yaml, started as processes with the commands,
// the environment and the files that it states: a device and a backend reach each other
// through Caddy, while one node and then the Redis primary go away.
func TestCompose(t *testing.T) {
	t.Parallel()
	needs(t, "redis-server")
	needs(t, "caddy")
	c := loadComposition(t, composeSettings)

	// All at once, as compose does, but for the nodes, which wait for Redis.
	script := c.read(c.mounted("redis-1", "/etc/fleetwire/redis.sh"))
	servers := map[string]*part{}
	for _, name := range []string{"redis-1", "redis-2", "sentinel-1", "sentinel-2", "sentinel-3"} {
		servers[name] = c.redis(name, script)
	}
	for _, name := range []string{"redis-1", "redis-2"} {
		eventually(t, name+" is healthy", patience, func() bool { return c.healthy(name) })
	}
	key := newKey("compose", "devices/**")
	apps := documentFile(t, newApp("app_compose", key))
	nodes := []*part{c.node("fanout-1", apps), c.node("fanout-2", apps)}
	f, caddy := c.caddy()
	prometheus := c.prometheus()
	for _, n := range []*node{c.at("fanout-1"), c.at("fanout-2")} {
		n.awaitReady(patience)
	}
	eventually(t, "Caddy passes requests on", patience, func() bool {
		a, err := f.call("GET", "/v1", "", "")
		return err == nil && a.status == http.StatusUpgradeRequired
	})

	const commands = "/v1/channels/devices%2Fcam-1%2Fcommands/publish"
	token := f.mint(key, "cam-1")
	device := f.connect("127.0.0.1", token).subscribe("devices/cam-1/commands")
	f.publishes(key, commands, `{"data":"reboot"}`, 1)
	device.expectMessage("devices/cam-1/commands", "server", `"reboot"`)

	// One of the two nodes is restarted: each device of it is told, and the other one serves.
	holder := 0
	if strings.Contains(c.at("fanout-2").metrics(t), "\nfleetwire_connections 1\n") {
		holder = 1
	}
	_ = nodes[holder].cmd.Process.Signal(syscall.SIGTERM)
	if frame := device.next(); !strings.HasPrefix(frame, `{"type":"going_away"`) {
		t.Errorf("a device of a node that goes away got %s", frame)
	}
	nodes[holder].end(syscall.SIGTERM) // the second one hurries the drain
	device = f.connect("127.0.0.1", token).subscribe("devices/cam-1/commands")
	f.publishes(key, commands, `{"data":"again"}`, 1)
	device.expectMessage("devices/cam-1/commands", "server", `"again"`)

	// The primary dies: the replica takes over, and the other comes back as its replica.
	servers["redis-1"].end(syscall.SIGKILL)
	eventually(t, "publishing goes on at the replica", patience, func() bool {
		a, err := f.call("POST", commands, key.credential(), `{"data":"after"}`)
		return err == nil && a.status == http.StatusOK && strings.HasSuffix(a.body, `"subscribers":1}`)
	})
	device.expectMessage("devices/cam-1/commands", "server", `"after"`)
	servers["redis-1"] = c.redis("redis-1", script)
	eventually(t, "the former primary is a replica", patience, func() bool {
		return strings.Contains(c.replication("redis-1"), "role:slave") && strings.Contains(c.replication("redis-2"), "connected_slaves:1")
	})
	if said := servers["redis-1"].printed.text(); strings.Contains(said, "no Sentinel") || !strings.Contains(said, "MASTER <-> REPLICA sync started") {
		t.Errorf("the former primary did not start as a replica:\n%s", said)
	}

	if prometheus == "" {
		t.Log("SKIPPED: Prometheus watches the nodes: needs prometheus (sudo apt-get install prometheus)")
	} else {
		eventually(t, "Prometheus has seen the node that is left, and misses the other", patience, func() bool {
			up := c.ups(prometheus)
			return up[fmt.Sprintf("fanout-%d", 2-holder)] == "1" && up[fmt.Sprintf("fanout-%d", holder+1)] == "0"
		})
	}
	for _, p := range append(nodes, servers["sentinel-1"], servers["redis-2"]) {
		if said := p.printed.text(); strings.Contains(said, secretMark) {
			t.Errorf("%s logs a secret:\n%s", p.name, said)
		}
	}
	if logs := caddy.printed.text(); strings.Contains(logs, "eyJ") || strings.Contains(logs, secretMark) || !strings.Contains(logs, `"uri":"/v1"`) {
		t.Errorf("Caddy's log holds a secret, or not the requests:\n%s", logs)
	}
}

// redis starts a Redis or a Sentinel with redis.sh.
func (c *composition) redis(name, script string) *part {
	c.t.Helper()
	s := c.service(name)
	if len(s.Command) != 3 || s.Command[0] != "sh" || s.Command[1] != "/etc/fleetwire/redis.sh" {
		c.t.Fatalf("the command of %s is %q", name, s.Command)
	}
	data := filepath.Join(c.dir, name)
	if err := os.MkdirAll(data, 0o700); err != nil {
		c.t.Fatal(err)
	}
	file := c.put(name+".sh", strings.ReplaceAll(script, "/data", data))
	return c.launch(name, nil, "sh", file, s.Command[2])
}

// healthy does the health check of a service as compose does.
func (c *composition) healthy(name string) bool {
	c.t.Helper()
	test := c.service(name).Healthcheck.Test
	if len(test) != 2 || test[0] != "CMD-SHELL" {
		c.t.Fatalf("the health check of %s is %q", name, test)
	}
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(test[1], "$$", "$"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "ADDRESS=" + c.address(name), "REDIS_PASSWORD=" + c.service(name).Environment["REDIS_PASSWORD"]}
	return cmd.Run() == nil
}

// address is that of a service that has a name in its network, or a fixed address.
func (c *composition) address(name string) string {
	if fixed := c.service(name).Environment["ADDRESS"]; fixed != "" {
		return c.local(fixed)
	}
	return strings.TrimSuffix(c.local(name+":"), ":")
}

func (c *composition) at(name string) *node {
	return &node{t: c.t, addr: c.address(name) + ":8080", ops: c.address(name) + ":8081"}
}

// node starts a node as the image does, at its own address.
func (c *composition) node(name, apps string) *part {
	c.t.Helper()
	if err := build(); err != nil {
		c.t.Fatal(err)
	}
	dockerfile, err := os.ReadFile("../Dockerfile")
	if err != nil {
		c.t.Fatal(err)
	}
	if !strings.Contains(string(dockerfile), "ENV FLEETWIRE_LISTEN=:8080 FLEETWIRE_OPS=:8081 ") {
		c.t.Fatal("the image listens elsewhere")
	}
	here := c.at(name)
	return c.launch(name, []string{
		"FLEETWIRE_LISTEN=" + here.addr, "FLEETWIRE_OPS=" + here.ops, "FLEETWIRE_LOG_FORMAT=json",
		"FLEETWIRE_APPS=" + apps,
		// Caddy comes from there on loopback, whatever network it is in.
		"FLEETWIRE_TRUSTED_PROXIES=127.0.0.1/32",
	}, filepath.Join(programs.dir, "fanout"))
}

// caddy starts Caddy, which signs its certificate itself.
func (c *composition) caddy() (*front, *part) {
	c.t.Helper()
	port := strconv.Itoa(freePort(c.t))
	text := c.read(c.mounted("caddy", "/etc/caddy/Caddyfile"))
	changed := strings.Replace(text, "\n{\n", "\n{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n\tdefault_bind 127.0.0.1\n\tlocal_certs\n", 1)
	if changed == text {
		c.t.Fatal("the Caddyfile has no global options")
	}
	file := c.put("Caddyfile", changed)
	p := c.launch("caddy", []string{
		"FLEETWIRE_HOST=" + c.service("caddy").Environment["FLEETWIRE_HOST"] + ":" + port, "XDG_DATA_HOME=" + c.dir, "XDG_CONFIG_HOME=" + c.dir,
	}, needs(c.t, "caddy"), "run", "--config", file, "--adapter", "caddyfile")
	f := &front{t: c.t, site: site{dir: c.dir, port: port}, roots: x509.NewCertPool()}
	eventually(c.t, "Caddy has its certificate", patience, func() bool {
		root, err := os.ReadFile(filepath.Join(c.dir, "caddy/pki/authorities/local/root.crt"))
		return err == nil && f.roots.AppendCertsFromPEM(root)
	})
	return f, p
}

// replication is what a Redis says of it.
func (c *composition) replication(name string) string {
	rdb := redis.NewClient(&redis.Options{Addr: c.address(name) + ":6379", Password: composeSettings["REDIS_PASSWORD"], MaxRetries: -1})
	defer rdb.Close()
	said, _ := rdb.Info(c.t.Context(), "replication").Result()
	return said
}

// prometheus starts Prometheus, if it is there, and returns its address.
func (c *composition) prometheus() string {
	c.t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		return ""
	}
	rules, err := filepath.Abs(filepath.Join("..", "deploy", c.mounted("prometheus", "/etc/prometheus/alerts.yaml")))
	if err != nil {
		c.t.Fatal(err)
	}
	config := strings.NewReplacer(": 15s", ": 1s", "/etc/prometheus/alerts.yaml", rules).Replace(c.read(c.mounted("prometheus", "/etc/prometheus/prometheus.yaml")))
	args := append([]string{}, c.service("prometheus").Command...)
	for i, arg := range args {
		args[i] = strings.NewReplacer("/etc/prometheus/prometheus.yaml", c.put("prometheus.yaml", config), "=/prometheus", "="+filepath.Join(c.dir, "prometheus")).Replace(arg)
	}
	address := c.prefix + ".0.110:9090"
	c.launch("prometheus", nil, program, append(args, "--web.listen-address="+address)...)
	return address
}

// ups is the metric up of each node.
func (c *composition) ups(prometheus string) map[string]string {
	resp, err := web.Get("http://" + prometheus + "/api/v1/query?query=up")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	var answer struct {
		Data struct {
			Result []struct {
				Metric struct{ Instance string }
				Value  [2]any
			}
		}
	}
	if json.Unmarshal(body, &answer) != nil {
		return nil
	}
	up := map[string]string{}
	for _, name := range []string{"fanout-1", "fanout-2"} {
		for _, r := range answer.Data.Result {
			if r.Metric.Instance == c.at(name).ops {
				up[name] = fmt.Sprint(r.Value[1])
			}
		}
	}
	return up
}
