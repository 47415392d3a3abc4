package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"fleetwire/pkg/redisconn"
)

// Authority is a CA of the test's own.
type Authority struct {
	File string // its certificate
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes a CA. Its files end with the test.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t}
	template := a.template("a test's CA")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	a.cert = template
	a.key, a.File, _ = a.sign(template)
	return a
}

// Issue returns the files of a certificate for both ends of a connection, for
// localhost and 127.0.0.1 unless change says otherwise, and of its key.
func (a *Authority) Issue(change func(*x509.Certificate)) (cert, key string) {
	a.t.Helper()
	template := a.template("an end of a test's connection")
	template.DNSNames = []string{"localhost"}
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if change != nil {
		change(template)
	}
	_, cert, key = a.sign(template)
	return cert, key
}

func (a *Authority) template(name string) *x509.Certificate {
	number, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.t.Fatal(err)
	}
	return &x509.Certificate{
		SerialNumber: number, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

// sign writes the template as a certificate of a new key, which signs itself while
// the authority has none.
func (a *Authority) sign(template *x509.Certificate) (own *ecdsa.PrivateKey, certFile, keyFile string) {
	a.t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	signer := a.key
	if signer == nil {
		signer = own
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, a.cert, &own.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	write := func(name, kind string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return path
	}
	return own, write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", key)
}

// secured is how a server speaks TLS.
type secured struct {
	cert, key, clients string
	tls                redisconn.TLS // of Server.Client
	admin              *tls.Config
}

// StartSecured starts a redis-server that speaks TLS alone, shows what Issue makes
// with change, and wants client certificates of the authority if mutual.
func (a *Authority) StartSecured(mutual bool, change func(*x509.Certificate)) *Server {
	a.t.Helper()
	return started(a.t, &Server{secured: a.secure(mutual, change)})
}

func (a *Authority) secure(mutual bool, change func(*x509.Certificate)) *secured {
	a.t.Helper()
	s := &secured{clients: "no", tls: redisconn.TLS{CA: a.File}}
	s.cert, s.key = a.Issue(change)
	s.tls.Cert, s.tls.Key = a.Issue(nil)
	if mutual {
		s.clients = "yes"
	}
	own, err := tls.LoadX509KeyPair(s.tls.Cert, s.tls.Key)
	if err != nil {
		a.t.Fatal(err)
	}
	// It must see the server up that tests of wrong certificates start, too.
	s.admin = &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own}}
	return s
}

// arguments has the server trust the authority's clients.
func (s *secured) arguments(port int) []string {
	return []string{"--port", "0", "--tls-port", strconv.Itoa(port), "--tls-cert-file", s.cert, "--tls-key-file", s.key,
		"--tls-ca-cert-file", s.tls.CA, "--tls-auth-clients", s.clients}
}
