package main

import (
	"os"
	"strings"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// A node on a Redis that speaks TLS alone and wants a certificate. The log warns of
// what is not as safe as it looks.
func TestRedisByTLS(t *testing.T) {
	a := redistest.NewAuthority(t)
	server := a.StartSecured(true, nil)
	cert, key := a.Issue(nil)
	variables := []string{"FLEETWIRE_REDIS_CERT=" + cert, "FLEETWIRE_REDIS_KEY=" + key}

	p := startProcess(t, append(variables, "FLEETWIRE_REDIS_CA="+a.File), "-redis", server.URL())
	p.connect()
	p.hurry()
	p.stopReading()
	if log := strings.Join(p.lines, "\n"); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the log warns:\n%s", log)
	}

	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	p = startProcess(t, append(variables, "FLEETWIRE_REDIS_INSECURE=true"), "-redis", server.URL()+"?skip_verify=true")
	p.line("can read " + key)
	p.line("the certificate of redis is not verified")
	p.connect()
}
