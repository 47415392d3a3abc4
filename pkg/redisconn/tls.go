package redisconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"fleetwire/pkg/redact"
)

// TLS is what a connection by rediss:// trusts, and shows of itself. The fields
// name PEM files; "" is none.
type TLS struct {
	// CA has the certificates that Redis's must be signed by; without it, those of
	// the system.
	CA string
	// Cert and Key are the client's own, for a Redis that asks for them.
	Cert, Key string
	// Insecure lets a URL say skip_verify=true.
	Insecure bool
}

// SettingError reports that a part of TLS cannot be used. Setting is "ca", "cert",
// "key" or "insecure", as the flag and the variable end.
type SettingError struct {
	Setting string
	Err     error
}

func (e *SettingError) Error() string { return e.Setting + ": " + e.Err.Error() }
func (e *SettingError) Unwrap() error { return e.Err }

// handshakeError reports that a connection was made, and TLS was not agreed on.
type handshakeError struct{ err error }

func (e *handshakeError) Error() string { return "TLS handshake: " + e.err.Error() }
func (e *handshakeError) Unwrap() error { return e.err }
func (e *handshakeError) Timeout() bool {
	err, ok := errors.AsType[net.Error](e.err)
	return ok && err.Timeout()
}

// apply makes the options of a URL those of a connection that is secured so.
func (t TLS) apply(opt *redis.Options) error {
	if opt.TLSConfig == nil {
		for _, given := range []struct{ setting, file string }{{"ca", t.CA}, {"cert", t.Cert}, {"key", t.Key}} {
			if given.file != "" {
				return &SettingError{given.setting, errors.New("is for TLS, and the Redis URL is without; begin the URL with rediss://, or leave this setting out")}
			}
		}
		if t.Insecure {
			return &SettingError{"insecure", errors.New("is for TLS, and the Redis URL is without; begin the URL with rediss://, or leave this setting out")}
		}
		return nil
	}
	if opt.TLSConfig.InsecureSkipVerify {
		switch {
		case !t.Insecure:
			return errors.New("the Redis URL says skip_verify=true, so that anybody in between could pose as Redis; leave it out and give the certificate of Redis's CA with -redis-ca (FLEETWIRE_REDIS_CA), or allow it with -redis-insecure (FLEETWIRE_REDIS_INSECURE=true)")
		case t.CA != "":
			return &SettingError{"ca", errors.New("verifies nothing, as the Redis URL says skip_verify=true; leave one of them out")}
		}
	}
	if err := t.load(opt.TLSConfig); err != nil {
		return err
	}
	dialer := &tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: opt.TLSConfig}
	opt.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		var op *net.OpError
		if err != nil && !(errors.As(err, &op) && op.Op == "dial") {
			// No command was sent (NotSent).
			err = &net.OpError{Op: "dial", Net: network, Addr: address(addr), Err: &handshakeError{err}}
		}
		return conn, err
	}
	return nil
}

// address is a net.Addr that shows as it was given.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

// load puts the files into config.
func (t TLS) load(config *tls.Config) error {
	if t.CA != "" {
		pool, err := readCA(t.CA)
		if err != nil {
			return &SettingError{"ca", err}
		}
		config.RootCAs = pool
	}
	switch {
	case t.Cert == "" && t.Key == "":
		return nil
	case t.Cert == "":
		return &SettingError{"key", errors.New("is given without the certificate that belongs to it; give both, or neither")}
	case t.Key == "":
		return &SettingError{"cert", errors.New("is given without the key that belongs to it; give both, or neither")}
	}
	pair, err := t.pair()
	if err != nil {
		return err
	}
	// For each connection anew, since certificates are renewed while a node runs.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if newest, err := t.pair(); err == nil {
			return newest, nil
		}
		return pair, nil // one file may have been replaced, and the other not yet
	}
	return nil
}

// pair reads the client's certificate and key.
func (t TLS) pair() (*tls.Certificate, error) {
	cert, err := readPEM(t.Cert, "CERTIFICATE")
	if err != nil {
		return nil, &SettingError{"cert", err}
	}
	key, err := readPEM(t.Key, "PRIVATE KEY")
	if err != nil {
		return nil, &SettingError{"key", err}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, &SettingError{"key", fmt.Errorf("%s does not go with the certificate in %s: %w", shown(t.Key), shown(t.Cert), err)}
	}
	return &pair, nil
}

func readCA(path string) (*x509.CertPool, error) {
	text, err := readPEM(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s has a certificate that cannot be read: %w", shown(path), err)
		}
		pool.AddCert(cert)
	}
	return pool, nil
}

// readPEM reads a file that must have a block of a type that ends so.
func readPEM(path, ending string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		var pathErr *fs.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err
		}
		return nil, fmt.Errorf("%s cannot be read: %w; give a PEM file", shown(path), err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if !strings.HasSuffix(block.Type, ending) {
			continue
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, fmt.Errorf("%s has a key behind a passphrase; give a file that has it without one", shown(path))
		}
		return text, nil
	}
	return nil, fmt.Errorf("%s has no block that begins with -----BEGIN %s-----; give a PEM file", shown(path), ending)
}

// shown quotes a path, which may be no path at all but what the file should hold.
func shown(path string) string {
	if _, err := os.Stat(path); err == nil {
		return strconv.Quote(path)
	}
	return redact.Place(path)
}

// Advise adds to an error of rdb's connections what would help, where TLS is, or may
// be, why they fail.
func Advise(rdb redis.UniversalClient, err error) error {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		record  tls.RecordHeaderError
		shake   *handshakeError
	)
	secure := tlsOf(rdb) != nil
	closed := Broke(err)
	var advice string
	switch {
	case errors.As(err, &unknown):
		advice = "give the certificate of its CA with -redis-ca"
	case errors.As(err, &host):
		advice = "the host in the Redis URL must be one that the certificate names"
	case errors.As(err, &record), errors.As(err, &shake) && shake.Timeout():
		advice = "this port may be without TLS, which redis:// is for"
	case strings.Contains(err.Error(), "remote error: tls: "), secure && closed:
		advice = "Redis may want a client certificate that it knows; give one with -redis-cert and -redis-key"
	case closed:
		advice = "this port may be one with TLS, which rediss:// is for"
	default:
		return err
	}
	return fmt.Errorf("%w; %s", err, advice)
}

// Unverified says whether a client takes any certificate for Redis's.
func Unverified(rdb redis.UniversalClient) bool {
	config := tlsOf(rdb)
	return config != nil && config.InsecureSkipVerify
}

func tlsOf(rdb redis.UniversalClient) *tls.Config {
	switch rdb := rdb.(type) {
	case *redis.Client:
		return rdb.Options().TLSConfig
	case *redis.ClusterClient:
		return rdb.Options().TLSConfig
	}
	return nil
}
