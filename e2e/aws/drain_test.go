package aws

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"fleetwire/pkg/awssecret/awssecrettest"
	"fleetwire/pkg/redisconn/redistest"
)

const targetGroup = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/fleetwire-nodes/0123456789abcdef"

// A node whose target group drains it closes its connections and ends, without
// ever having got a SIGTERM: that comes too late (see fanout/internal/targetdrain).
// Its configuration comes from Secrets Manager, as in the deployment.
func TestNodeGoesAwayWhenItsTargetDrains(t *testing.T) {
	redis := redistest.Start(t)
	secrets := awssecrettest.Start(t)
	secrets.Put(appsARN, read(t, "apps.json"))
	secrets.Put(redisARN, redis.URL())

	// The first question is answered once the device is connected.
	connected := make(chan struct{})
	asked := make(chan string, 100)
	aws := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metadata" {
			fmt.Fprint(w, `{"DockerId":"1","Name":"node","Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.2.106"]}]}`)
			return
		}
		asked <- r.FormValue("Action") + " " + r.FormValue("TargetGroupArn") + " " + r.FormValue("Targets.member.1.Id") + ":" + r.FormValue("Targets.member.1.Port")
		select {
		case <-connected:
		case <-r.Context().Done():
			return
		}
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprint(w, `<DescribeTargetHealthResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><DescribeTargetHealthResult><TargetHealthDescriptions><member><Target><Id>10.0.2.106</Id><Port>8080</Port></Target><TargetHealth><State>draining</State><Reason>Target.DeregistrationInProgress</Reason><Description>Target deregistration is in progress</Description></TargetHealth></member></TargetHealthDescriptions></DescribeTargetHealthResult></DescribeTargetHealthResponse>`)
	}))
	defer aws.Close()

	tokens := start(t, environment(t, redis.URL()), bootstrap(t, "tokens", hostArch))
	token := mint(t, tokens, "token-alb")
	variables := secrets.Environment()
	variables["FLEETWIRE_APPS"], variables["FLEETWIRE_REDIS_URL"] = appsARN, redisARN
	variables["FLEETWIRE_TARGET_GROUP_ARN"] = targetGroup
	variables["ECS_CONTAINER_METADATA_URI_V4"] = aws.URL + "/metadata"
	variables["AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2"] = aws.URL + "/elb"
	p := startImage(t, redis, variables)
	device := p.dial(t, token)

	_, port, _ := strings.Cut(p.addr, ":")
	if got, want := <-asked, "DescribeTargetHealth "+targetGroup+" 10.0.2.106:"+port; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
	close(connected)
	if frame := device.read(); !strings.HasPrefix(frame, `{"type":"going_away","retryAfterMs":`) {
		t.Errorf("received %s, want going_away", frame)
	}
	device.wantClose(ws.StatusGoingAway)
	p.wantEnd(t)
	if log := p.log.String(); !strings.Contains(log, "the target group is draining this node") || strings.Contains(log, secretTip) {
		t.Errorf("logged %s", log)
	}
}
