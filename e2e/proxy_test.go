package e2e

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// proxyHost is the host name in the configurations of deploy/.
const proxyHost = "realtime.example.com"

// A proxy is a program that stands before nodes, with its configuration in deploy/.
type proxy struct {
	name, config string
	// place returns what differs between a server in production and a test on
	// loopback, as pairs of old and new; each old must be there.
	place func(s site) []string
	// command returns the arguments, having written what else the program needs.
	command func(t testing.TB, s site) []string
	// socketLogged is what the log says of a socket that has been.
	socketLogged string
	// idle is what the configuration calls the longest silence on a socket, "" if
	// the proxy knows no such limit.
	idle string
}

// site is where a proxy of a test listens, and what stands behind it.
type site struct {
	dir               string // the configuration, the certificate, logs
	port              string // on 127.0.0.1
	node, nodeOpsPort string
}

func (s site) file(name string) string { return filepath.Join(s.dir, name) }

var proxies = []proxy{
	{
		name: "nginx", config: "nginx/fleetwire.conf", idle: "proxy_read_timeout 90s", socketLogged: " GET /v1 101 ",
		place: func(s site) []string {
			return []string{
				"listen 443 ssl", "listen 127.0.0.1:" + s.port + " ssl",
				"/etc/nginx/fleetwire.crt", s.file("cert.pem"), "/etc/nginx/fleetwire.key", s.file("key.pem"),
				"/var/log/nginx/fleetwire.log", s.file("access.log"), "/var/log/nginx/fleetwire-error.log", s.file("error.log"),
				"127.0.0.1:8080", s.node,
			}
		},
		command: func(t testing.TB, s site) []string {
			main := "daemon off;\nworker_processes 1;\npid " + s.file("pid") + ";\nevents { worker_connections 128; }\nhttp {\n"
			if os.Getuid() == 0 {
				main = "user root;\n" + main // another could not enter the test's folder
			}
			for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
				main += kind + "_temp_path " + s.file(kind) + ";\n"
			}
			write(t, s.file("nginx.conf"), main+"include "+s.file("fleetwire.conf")+";\n}\n")
			return []string{"-p", s.dir, "-e", "stderr", "-c", s.file("nginx.conf")}
		},
	},
	{
		name: "haproxy", config: "haproxy/haproxy.cfg", idle: "timeout tunnel 90s", socketLogged: " GET /v1 101 ",
		place: func(s site) []string {
			return []string{
				"bind :443 ", "bind 127.0.0.1:" + s.port + " ", "/etc/haproxy/fleetwire.pem", s.file("both.pem"),
				"127.0.0.1:8080 check port 8081", s.node + " check port " + s.nodeOpsPort,
				"maxconn 100000", "maxconn 128", // which needs no more open files than anybody may have
			}
		},
		command: func(_ testing.TB, s site) []string { return []string{"-db", "-f", s.file("haproxy.cfg")} },
	},
	{
		name: "caddy", config: "caddy/Caddyfile", socketLogged: `"uri":"/v1",`,
		place: func(s site) []string {
			return []string{
				"\n{\n", "\n{\n\tadmin off\n\tauto_https disable_redirects\n",
				"{$FLEETWIRE_HOST:" + proxyHost + "} {\n", proxyHost + ":" + s.port + " {\n\tbind 127.0.0.1\n\ttls " + s.file("cert.pem") + " " + s.file("key.pem") + "\n",
				"{$FLEETWIRE_ACCESS_LOG:file /var/log/caddy/fleetwire.log}", "file " + s.file("access.log"),
				"{$FLEETWIRE_NODES:127.0.0.1:8080}", s.node, "health_port 8081", "health_port " + s.nodeOpsPort,
			}
		},
		command: func(_ testing.TB, s site) []string {
			return []string{"run", "--config", s.file("Caddyfile"), "--adapter", "caddyfile"}
		},
	},
}

// front is a running proxy, from the outside.
type front struct {
	t       testing.TB
	site    site
	roots   *x509.CertPool
	printed output
}

// start runs the proxy before the node until the test ends. changes are further
// pairs of old and new in its configuration; here an old may be missing.
func (p proxy) start(t testing.TB, n *node, changes ...string) *front {
	t.Helper()
	program, err := exec.LookPath(p.name)
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/" + p.name); err != nil {
			t.Skipf("SKIPPED: needs %s (sudo apt-get install %[1]s, or brew install %[1]s)", p.name)
		}
	}
	_, opsPort, err := net.SplitHostPort(n.ops)
	if err != nil {
		t.Fatal(err)
	}
	s := site{dir: t.TempDir(), port: strconv.Itoa(freePort(t)), node: n.addr, nodeOpsPort: opsPort}
	f := &front{t: t, site: s, roots: certificate(t, s)}

	config, err := os.ReadFile(filepath.Join("..", "deploy", p.config))
	if err != nil {
		t.Fatal(err)
	}
	places := p.place(s)
	for i := 0; i < len(places); i += 2 {
		if !bytes.Contains(config, []byte(places[i])) {
			t.Fatalf("deploy/%s has no %q", p.config, places[i])
		}
	}
	// At once: what was put in is not looked at again.
	text := strings.NewReplacer(append(places, changes...)...).Replace(string(config))
	write(t, s.file(filepath.Base(p.config)), text)

	cmd := exec.Command(program, p.command(t, s)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	read, exited := make(chan struct{}), make(chan struct{})
	go func() { defer close(read); f.printed.readFrom(in) }()
	go func() { defer close(exited); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(patience):
			_ = cmd.Process.Kill()
			<-exited
		}
		<-read
		_ = in.Close()
		if t.Failed() {
			t.Logf("%s with\n%s\nprinted\n%s", p.name, text, f.logs())
		}
	})
	eventually(t, p.name+" passes requests on", patience, func() bool {
		select {
		case <-exited:
			<-read
			t.Fatalf("%s has ended: %s", p.name, f.printed.text())
		default:
		}
		a, err := f.call("GET", "/v1", "", "")
		return err == nil && a.status == http.StatusUpgradeRequired
	})
	return f
}

// logs is all that the proxy has written so far.
func (f *front) logs() string {
	text := f.printed.text()
	for _, name := range []string{"access.log", "error.log"} {
		if b, err := os.ReadFile(f.site.file(name)); err == nil {
			text += string(b)
		}
	}
	return text
}

// certificate makes one for proxyHost, in the files that the proxies read.
func certificate(t testing.TB, s site) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: proxyHost}, DNSNames: []string{proxyHost},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	keyPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))
	write(t, s.file("cert.pem"), certPEM)
	write(t, s.file("key.pem"), keyPEM)
	write(t, s.file("both.pem"), certPEM+keyPEM)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(certPEM))
	return roots
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// freePort finds one below those that the system hands out by itself: the proxy
// takes it a moment later.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 20000 + mathrand.IntN(12000)
		if l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port between 20000 and 32000")
	return 0
}

func (f *front) tls() *tls.Config { return &tls.Config{RootCAs: f.roots, ServerName: proxyHost} }

// dialTCP reaches the proxy from an address of loopback, whatever host was asked for.
func (f *front) dialTCP(from string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		return d.DialContext(ctx, network, "127.0.0.1:"+f.site.port)
	}
}

// call makes a REST request through the proxy.
func (f *front) call(method, path, credential, body string) (answer, error) {
	r, err := http.NewRequest(method, "https://"+proxyHost+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if credential != "" {
		r.Header.Set("Authorization", "Bearer "+credential)
		r.Header.Set("Content-Type", "application/json")
	}
	return f.do(r)
}

// do makes a request through the proxy.
func (f *front) do(r *http.Request) (answer, error) {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: f.dialTCP("127.0.0.1"), TLSClientConfig: f.tls(), DisableKeepAlives: true,
	}}
	return doWith(client, r)
}
