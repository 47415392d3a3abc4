package aws

import (
	"strings"
	"testing"

	"fleetwire/pkg/awssecret/awssecrettest"
	"fleetwire/pkg/redisconn/redistest"
)

// A key that is taken out of the secret is revoked on nodes that run: within one
// reading of the secret (25 s) its connections close with 4002, and it opens no more.
func TestAKeyIsRevokedInTheSecret(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	secrets := awssecrettest.Start(t)
	document := read(t, "apps.json")
	secrets.Put(appsARN, document)
	tokens := start(t, environment(t, redis.URL()), bootstrap(t, "tokens", hostArch))
	token := mint(t, tokens, "token-alb")
	variables := secrets.Environment()
	variables["FLEETWIRE_APPS"] = appsARN
	p := startImage(t, redis, variables)
	device := p.dial(t, token)

	secrets.Put(appsARN, strings.ReplaceAll(document, `"id": "sk_`, `"id": "sk_next_`))
	device.wantClose(4002)
	redistest.Eventually(t, patience, "the log says that a new version is in force", func() bool {
		return strings.Contains(p.log.String(), "a new version of the apps document is in force")
	})
	if log := p.log.String(); strings.Contains(log, secretTip) {
		t.Errorf("logged %s", log)
	}
}
