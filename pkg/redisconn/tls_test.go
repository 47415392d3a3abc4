package redisconn_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/redisconn/redistest"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Settings that cannot be used are refused before a connection is made, by name.
func TestTLSSettings(t *testing.T) {
	a := redistest.NewAuthority(t)
	cert, key := a.Issue(nil)
	_, otherKey := a.Issue(nil)
	const secure, plain = "rediss://u:hush-hush@h:6379", "redis://u:hush-hush@h:6379"
	behindPassphrase := write(t, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nTUlJ\n-----END ENCRYPTED PRIVATE KEY-----\n")
	formerlyEncrypted := write(t, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"}, Bytes: []byte("x")})))
	brokenCert := write(t, "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n")
	text := write(t, "hush-hush is no certificate\n")
	empty := write(t, "")
	der := write(t, string(func() []byte { b, _ := pem.Decode([]byte(read(t, cert))); return b.Bytes }()))
	for _, test := range []struct {
		name, url string
		tls       redisconn.TLS
		setting   string // "" the URL
		want      string
	}{
		{"no such CA", secure, redisconn.TLS{CA: "/nowhere/ca.pem"}, "ca", `"/nowhere/ca.pem" cannot be read: no such file`},
		{"a folder", secure, redisconn.TLS{CA: t.TempDir()}, "ca", "is a directory"},
		{"an empty CA", secure, redisconn.TLS{CA: empty}, "ca", "has no block that begins with -----BEGIN CERTIFICATE-----; give a PEM file"},
		{"a CA that is text", secure, redisconn.TLS{CA: text}, "ca", "has no block"},
		{"a CA in DER", secure, redisconn.TLS{CA: der}, "ca", "has no block"},
		{"a CA that is a key", secure, redisconn.TLS{CA: key}, "ca", "has no block that begins with -----BEGIN CERTIFICATE-----"},
		{"a CA that is broken", secure, redisconn.TLS{CA: brokenCert}, "ca", "has a certificate that cannot be read"},
		{"a CA of which the second is broken", secure, redisconn.TLS{CA: write(t, read(t, a.File)+read(t, brokenCert))}, "ca", "has a certificate that cannot be read"},
		{"the CA itself instead of its file", secure, redisconn.TLS{CA: read(t, a.File)}, "ca", "cannot be read"},
		{"the key itself instead of its file", secure, redisconn.TLS{Cert: cert, Key: read(t, key)}, "key", "cannot be read"},
		{"no such certificate", secure, redisconn.TLS{Cert: "/nowhere/c.pem", Key: key}, "cert", `"/nowhere/c.pem" cannot be read`},
		{"no such key", secure, redisconn.TLS{Cert: cert, Key: "/nowhere/k.pem"}, "key", `"/nowhere/k.pem" cannot be read`},
		{"a certificate without a key", secure, redisconn.TLS{Cert: cert}, "cert", "without the key"},
		{"a key without a certificate", secure, redisconn.TLS{Key: key}, "key", "without the certificate"},
		{"the two exchanged", secure, redisconn.TLS{Cert: key, Key: cert}, "cert", "has no block that begins with -----BEGIN CERTIFICATE-----"},
		{"the certificate twice", secure, redisconn.TLS{Cert: cert, Key: cert}, "key", "has no block that begins with -----BEGIN PRIVATE KEY-----"},
		{"another's key", secure, redisconn.TLS{Cert: cert, Key: otherKey}, "key", "does not go with the certificate"},
		{"a broken certificate", secure, redisconn.TLS{Cert: brokenCert, Key: key}, "key", "does not go with the certificate"},
		{"a key behind a passphrase", secure, redisconn.TLS{Cert: cert, Key: behindPassphrase}, "key", "behind a passphrase"},
		{"likewise, in the former way", secure, redisconn.TLS{Cert: cert, Key: formerlyEncrypted}, "key", "behind a passphrase"},
		{"a CA without TLS", plain, redisconn.TLS{CA: a.File}, "ca", "begin the URL with rediss://"},
		{"a certificate without TLS", plain, redisconn.TLS{Cert: cert, Key: key}, "cert", "begin the URL with rediss://"},
		{"a key without TLS", plain, redisconn.TLS{Key: key}, "key", "begin the URL with rediss://"},
		{"insecure without TLS", plain, redisconn.TLS{Insecure: true}, "insecure", "begin the URL with rediss://"},
		{"a CA for a socket", "unix:///run/redis.sock", redisconn.TLS{CA: a.File}, "ca", "begin the URL with rediss://"},
		{"skip_verify", secure + "?skip_verify=true", redisconn.TLS{}, "", "-redis-insecure"},
		{"skip_verify, shorter", secure + "?skip_verify=1", redisconn.TLS{}, "", "-redis-ca"},
		{"skip_verify, beside a CA", secure + "?skip_verify=true", redisconn.TLS{CA: a.File}, "", "-redis-insecure"},
		{"skip_verify and a CA", secure + "?skip_verify=true", redisconn.TLS{CA: a.File, Insecure: true}, "ca", "verifies nothing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			rdb, err := redisconn.Open(test.url, test.tls)
			if err == nil {
				_ = rdb.Close()
				t.Fatal("it is taken")
			}
			var setting *redisconn.SettingError
			if errors.As(err, &setting) != (test.setting != "") || setting != nil && setting.Setting != test.setting {
				t.Errorf("%v is about %+v, want %q", err, setting, test.setting)
			}
			if said := err.Error(); !strings.Contains(said, test.want) || strings.Contains(said, "hush-hush") || strings.Contains(said, "\n") || len(said) > 400 {
				t.Errorf("got %s\nwant %s, in a line without a secret", said, test.want)
			}
			for line := range strings.Lines(read(t, key)) {
				if !strings.HasPrefix(line, "-----") && strings.Contains(err.Error(), strings.TrimSpace(line)) {
					t.Errorf("the error shows the key: %v", err)
				}
			}
		})
	}
	for _, fine := range []string{secure, secure + "?skip_verify=false", secure + "?skip_verify=0"} {
		if rdb, err := redisconn.Open(fine, redisconn.TLS{CA: a.File, Cert: cert, Key: key, Insecure: true}); err != nil {
			t.Errorf("%s: %v", fine, err)
		} else if _ = rdb.Close(); redisconn.Unverified(rdb) {
			t.Errorf("%s: nothing is verified", fine)
		}
	}
}

// ping connects anew, and says with what error.
func ping(t *testing.T, url string, security redisconn.TLS) error {
	t.Helper()
	rdb, err := redisconn.Open(url, security)
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err = rdb.Ping(ctx).Err(); err != nil {
		err = redisconn.Advise(rdb, err)
	}
	return err
}

// What a client accepts of a real Redis, and what Redis accepts of it.
func TestTLSHandshakes(t *testing.T) {
	t.Parallel()
	ours, others := redistest.NewAuthority(t), redistest.NewAuthority(t)
	both := write(t, read(t, others.File)+"\n"+read(t, ours.File))
	cert, key := ours.Issue(nil)
	foreignCert, foreignKey := others.Issue(nil)
	oldCert, oldKey := ours.Issue(expired)
	one := ours.StartSecured(false, nil)
	mutual := ours.StartSecured(true, nil)
	elsewhere := ours.StartSecured(false, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"redis.example.internal"}, nil })
	byName := ours.StartSecured(false, func(c *x509.Certificate) { c.IPAddresses = nil })
	old := ours.StartSecured(false, expired)
	plain := redistest.Start(t)
	_, port, _ := net.SplitHostPort(byName.Addr())
	for _, test := range []struct {
		name, url string
		tls       redisconn.TLS
		want      string // in the error; "" for none
	}{
		{"a private CA", one.URL(), redisconn.TLS{CA: ours.File}, ""},
		{"a file of several CAs", one.URL(), redisconn.TLS{CA: both}, ""},
		{"a certificate that nobody asks for", one.URL(), redisconn.TLS{CA: ours.File, Cert: cert, Key: key}, ""},
		{"the system's CAs", one.URL(), redisconn.TLS{}, "-redis-ca"},
		{"another CA", one.URL(), redisconn.TLS{CA: others.File}, "; give the certificate of its CA with -redis-ca"},
		{"skip_verify, as allowed", one.URL() + "?skip_verify=true", redisconn.TLS{Insecure: true}, ""},
		{"allowed, but verified", one.URL(), redisconn.TLS{Insecure: true}, "unknown authority"},
		{"the host's name", "rediss://localhost:" + port, redisconn.TLS{CA: ours.File}, ""},
		{"the address of one that has a name", "rediss://127.0.0.1:" + port, redisconn.TLS{CA: ours.File}, "the host in the Redis URL"},
		{"another host", elsewhere.URL(), redisconn.TLS{CA: ours.File}, "the host in the Redis URL must be one that the certificate names"},
		{"an expired certificate", old.URL(), redisconn.TLS{CA: ours.File}, "expired"},
		{"mutual", mutual.URL(), redisconn.TLS{CA: ours.File, Cert: cert, Key: key}, ""},
		{"mutual, without a certificate", mutual.URL(), redisconn.TLS{CA: ours.File}, "-redis-cert"},
		{"mutual, with another CA's", mutual.URL(), redisconn.TLS{CA: ours.File, Cert: foreignCert, Key: foreignKey}, "-redis-cert"},
		{"mutual, expired", mutual.URL(), redisconn.TLS{CA: ours.File, Cert: oldCert, Key: oldKey}, "-redis-cert"},
		{"TLS to a port without", "rediss://" + plain.Addr(), redisconn.TLS{CA: ours.File}, "without TLS"},
		{"no TLS to a port with", "redis://" + one.Addr(), redisconn.TLS{}, "rediss://"},
	} {
		switch err := ping(t, test.url, test.tls); {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}

func expired(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) }

// A handshake that fails has sent nothing, so that its publish may be tried again.
func TestFailedHandshakeSendsNothing(t *testing.T) {
	t.Parallel()
	ours, others := redistest.NewAuthority(t), redistest.NewAuthority(t)
	err := ping(t, ours.StartSecured(false, nil).URL(), redisconn.TLS{CA: others.File})
	if err == nil || !redisconn.NotSent(err) || !redisconn.Unreachable(err) {
		t.Errorf("%v: not sent %v, unreachable %v; want both", err, redisconn.NotSent(err), redisconn.Unreachable(err))
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	err = ping(t, "rediss://"+silent.Addr().String(), redisconn.TLS{})
	var timeout interface{ Timeout() bool }
	if !redisconn.NotSent(err) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("a handshake that nobody answers: %v, want a timeout before anything was sent", err)
	}
}

// A renewed certificate is shown from the next connection on, and one of which half
// is written is not.
func TestCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	a := redistest.NewAuthority(t)
	server := a.StartSecured(true, nil)
	oldCert, oldKey := a.Issue(expired)
	cert, key := write(t, read(t, oldCert)), write(t, read(t, oldKey))
	rdb := redistest.SecureClient(t, server.URL(), redisconn.TLS{CA: a.File, Cert: cert, Key: key})
	if err := rdb.Ping(t.Context()).Err(); err == nil {
		t.Fatal("Redis takes an expired certificate")
	}
	newCert, newKey := a.Issue(nil)
	replace := func(path, by string) {
		if err := os.WriteFile(path, []byte(read(t, by)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replace(cert, newCert)
	if err := rdb.Ping(t.Context()).Err(); err == nil {
		t.Fatal("Redis takes a certificate with another's key")
	}
	replace(key, newKey)
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Fatalf("with the renewed pair: %v", err)
	}
	replace(key, oldKey)
	if err := rdb.Conn().Ping(t.Context()).Err(); err != nil {
		t.Errorf("the connection that is open: %v", err)
	}
}

// A password may hold every character, and no error shows it.
func TestAnyPassword(t *testing.T) {
	t.Parallel()
	a := redistest.NewAuthority(t)
	server := a.StartSecured(false, nil)
	admin := server.Client().Conn()
	defer admin.Close()
	security := redisconn.TLS{CA: a.File}
	var every bytes.Buffer
	for b := range 256 {
		every.WriteByte(byte(b))
	}
	for _, password := range []string{every.String(), "/?#%[]@:", "ünï cödé", `"'\` + "`$", " ", "%2F", "a+b&c=d", "\r\n+OK\r\n"} {
		if err := admin.Do(t.Context(), "acl", "setuser", "fw", "reset", "on", "+@all", "~*", ">"+password).Err(); err != nil {
			t.Fatal(err)
		}
		login := url.UserPassword("fw", password).String()
		if err := ping(t, "rediss://"+login+"@"+server.Addr(), security); err != nil {
			t.Errorf("%q: %v", password, err)
		}
		var escaped strings.Builder
		for _, b := range []byte(password) {
			fmt.Fprintf(&escaped, "%%%02x", b)
		}
		if err := ping(t, "rediss://fw:"+escaped.String()+"@"+server.Addr(), security); err != nil {
			t.Errorf("%q, all of it escaped: %v", password, err)
		}
	}
	for _, wrong := range []string{
		"rediss://fw:hush-hush@" + server.Addr(),
		"rediss://fw:hush-hush@127.0.0.1:1",
		"redis://fw:hush-hush@" + server.Addr(),
	} {
		of := security
		if strings.HasPrefix(wrong, "redis:") {
			of = redisconn.TLS{}
		}
		if err := ping(t, wrong, of); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v, want an error without the password", wrong, err)
		}
	}
	var reply redis.Error
	if err := ping(t, "rediss://fw:other@"+server.Addr(), security); !errors.As(err, &reply) && !strings.Contains(err.Error(), "WRONGPASS") {
		t.Errorf("a wrong password: %v, want Redis's words", err)
	}
}
