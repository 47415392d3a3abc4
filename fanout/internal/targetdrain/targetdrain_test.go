package targetdrain

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

const group = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/fleetwire-nodes/0123456789abcdef"

const notRegistered = "unused/Target.NotRegistered"

// service is a stand-in for Elastic Load Balancing's DescribeTargetHealth (AWS
// query protocol) and for the metadata endpoint of ECS.
type service struct {
	*httptest.Server
	mu       sync.Mutex
	answers  []string // state or state/reason, "error" or "nobody"; the last one stays
	asked    []string // targets
	region   string
	metadata string
}

func start(t *testing.T, answers ...string) *service {
	t.Helper()
	s := &service{answers: answers, metadata: `{"Name":"node","Networks":[{"NetworkMode":"awsvpc","IPv4Addresses":["10.0.2.106"]}]}`}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2": s.URL + "/elb",
		"AWS_ACCESS_KEY_ID":                          "AKIDEXAMPLE",
		"AWS_SECRET_ACCESS_KEY":                      "not-a-secret",
		"AWS_MAX_ATTEMPTS":                           "1",
		metadataVariable:                             s.URL + "/v4/container",
		GroupVariable:                                group,
	} {
		t.Setenv(name, value)
	}
	return s
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Path == "/v4/container" {
		_, _ = w.Write([]byte(s.metadata))
		return
	}
	if err := r.ParseForm(); err != nil || r.Form.Get("Action") != "DescribeTargetHealth" || r.Form.Get("TargetGroupArn") != group {
		http.Error(w, "not what was expected", http.StatusBadRequest)
		return
	}
	scope := strings.Split(r.Header.Get("Authorization"), "/")
	if len(scope) > 2 {
		s.region = scope[2]
	}
	target := r.Form.Get("Targets.member.1.Id") + ":" + r.Form.Get("Targets.member.1.Port")
	s.asked = append(s.asked, target)
	state := s.answers[0]
	if len(s.answers) > 1 {
		s.answers = s.answers[1:]
	}
	reason := ""
	if name, why, ok := strings.Cut(state, "/"); ok {
		state, reason = name, why
	}
	w.Header().Set("Content-Type", "text/xml")
	members := fmt.Sprintf(`<member><Target><Id>10.0.2.106</Id><Port>8080</Port></Target><HealthCheckPort>8081</HealthCheckPort><TargetHealth><State>%s</State><Reason>%s</Reason></TargetHealth></member>`, state, reason)
	switch state {
	case "error":
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<ErrorResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>not authorized to perform elasticloadbalancing:DescribeTargetHealth</Message></Error><RequestId>1</RequestId></ErrorResponse>`)
		return
	case "nobody":
		members = ""
	}
	fmt.Fprintf(w, `<DescribeTargetHealthResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><DescribeTargetHealthResult><TargetHealthDescriptions>%s</TargetHealthDescriptions></DescribeTargetHealthResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></DescribeTargetHealthResponse>`, members)
}

func (s *service) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// clock is a fake one: time passes when the test says so.
type clock struct {
	t       *testing.T
	waiting chan chan time.Time
}

func (c *clock) after(d time.Duration) <-chan time.Time {
	if d != Interval {
		c.t.Errorf("waits %v, want %v", d, Interval)
	}
	done := make(chan time.Time, 1)
	c.waiting <- done
	return done
}

// next waits until the watch waits, and then lets the interval pass. A watch that
// has ended does not wait.
func (c *clock) next(ended <-chan bool) {
	c.t.Helper()
	select {
	case passed := <-c.waiting:
		passed <- time.Time{}
	case drained := <-ended:
		c.t.Fatalf("ended too early: drained %v", drained)
	}
}

func newWatch(t *testing.T) (*Watch, *clock, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	w, err := New(t.Context(), group, "0.0.0.0:8080", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{t: t, waiting: make(chan chan time.Time)}
	w.after = c.after
	return w, c, &log
}

func TestWait(t *testing.T) {
	for name, states := range map[string][]string{
		"a life":                          {notRegistered, "initial", "healthy", "healthy", "draining"},
		"unhealthy is no reason":          {"initial", "unhealthy", "unavailable", "unhealthy.draining", "healthy", "draining"},
		"draining from the start":         {"draining"},
		"registered late":                 {notRegistered, notRegistered, notRegistered, "healthy", "draining"},
		"draining fell between questions": {"healthy", notRegistered},
		"no rule leads to the group":      {"unused/Target.NotInUse", "healthy", "unused/Target.NotInUse", "draining/Target.DeregistrationInProgress"},
		"not allowed for a while":         {"error", "healthy", "error", "error", "draining"},
		"an answer about nobody":          {"nobody", "healthy", "nobody", "draining"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, states...)
			w, c, log := newWatch(t)
			drained := make(chan bool)
			go func() { drained <- w.Wait(t.Context()) }()
			for range len(states) - 1 {
				c.next(drained) // and not drained before the last state
			}
			if !<-drained {
				t.Fatal("ended without draining")
			}
			asked := s.questions()
			if len(asked) != len(states) {
				t.Errorf("asked %d times for %d states", len(asked), len(states))
			}
			for _, target := range asked {
				if target != "10.0.2.106:8080" {
					t.Errorf("asked about %s", target)
				}
			}
			if s.region != "eu-central-1" {
				t.Errorf("asked in %s", s.region)
			}
			want := strings.Count(strings.Join(states, " "), "error") + strings.Count(strings.Join(states, " "), "nobody")
			if got := strings.Count(log.String(), "level=WARN"); got != want {
				t.Errorf("%d warnings for %d failures: %s", got, want, log)
			}
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	start(t, "healthy")
	w, c, log := newWatch(t)
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan bool)
	go func() { drained <- w.Wait(ctx) }()
	<-c.waiting
	cancel()
	if <-drained || log.Len() > 0 {
		t.Errorf("drained, or logged %s", log)
	}
}

func TestContextEndsWhenTheTargetDrains(t *testing.T) {
	start(t, "draining")
	ctx, err := Context(t.Context(), "127.0.0.1:8080", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	<-ctx.Done()
	if t.Context().Err() != nil {
		t.Error("the parent ended")
	}
}

func TestWithoutATargetGroupNothingIsWatched(t *testing.T) {
	t.Setenv(GroupVariable, "")
	if ctx, err := Context(t.Context(), "127.0.0.1:8080", slog.New(slog.DiscardHandler)); ctx != t.Context() || err != nil {
		t.Errorf("%v, %v", ctx, err)
	}
}

func TestWrongConfiguration(t *testing.T) {
	for name, tt := range map[string]struct {
		variable, value, metadata, want string
	}{
		"not an ARN":        {GroupVariable, "fleetwire-nodes", "", `FLEETWIRE_TARGET_GROUP_ARN: "fleetwire-nodes" is not the ARN of a target group`},
		"of something else": {GroupVariable, "arn:aws:s3:eu-central-1:1:bucket", "", "is not the ARN of a target group"},
		"no ECS":            {metadataVariable, "", "", "ECS_CONTAINER_METADATA_URI_V4 is not set"},
		"no address":        {metadataVariable, "/v4/container", `{"Networks":[{"IPv4Addresses":[]}]}`, "must be awsvpc"},
		"no JSON":           {metadataVariable, "/v4/container", `sorry`, "the container metadata: "},
		"ECS says no":       {metadataVariable, "/elsewhere", "", "status 400"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, "healthy")
			s.metadata = tt.metadata
			value := tt.value
			if strings.HasPrefix(value, "/") {
				value = s.URL + value
			}
			t.Setenv(tt.variable, value)
			_, err := Context(t.Context(), "127.0.0.1:8080", slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
