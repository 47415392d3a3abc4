package lambda

import (
	"strings"
	"testing"

	"fleetwire/pkg/redisconn/redistest"
)

// A function on a Redis that speaks TLS alone and wants a certificate.
func TestRedisByTLS(t *testing.T) {
	a := redistest.NewAuthority(t)
	server := a.StartSecured(true, nil)
	cert, key := a.Issue(nil)
	for name, value := range map[string]string{"APPS": document("sk_a"), "REDIS_URL": server.URL(), "REDIS_CA": a.File, "REDIS_CERT": cert, "REDIS_KEY": key} {
		t.Setenv("FLEETWIRE_"+name, value)
	}
	i := newInstance(t, settingsFromEnvironment())
	i.start()
	i.want(t, "sk_a", 200)

	t.Setenv("FLEETWIRE_REDIS_CA", redistest.NewAuthority(t).File)
	i = newInstance(t, settingsFromEnvironment())
	i.start()
	if log := i.log.String(); !strings.Contains(log, "failed to verify certificate") {
		t.Errorf("another CA: logged %s", log)
	}
	i.want(t, "sk_a", 503)

	t.Setenv("FLEETWIRE_REDIS_URL", server.URL()+"?skip_verify=true")
	t.Setenv("FLEETWIRE_REDIS_CA", "")
	t.Setenv("FLEETWIRE_REDIS_INSECURE", "true")
	newInstance(t, settingsFromEnvironment()).want(t, "sk_a", 200)
}
