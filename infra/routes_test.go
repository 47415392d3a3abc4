package infra

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"fleetwire/functions/routes"
)

// wantedRoutes are those that the balancer must know: those of functions. Nodes alone serve the others.
var wantedRoutes = slices.DeleteFunc(routes.All(), func(r routes.Route) bool { return r.Function == "" })

// state is what `terraform show -json` says of an applied state.
type state struct {
	Root struct {
		Resources []resource
	} `json:"root_module"`
}

// Values have other types in other resources, so only those of the balancer and
// the functions are read.
type resource struct {
	Mode, Type, Name string
	Values           json.RawMessage
	Sensitive        json.RawMessage `json:"sensitive_values"`
}

type values struct {
	ARN            string `json:"arn"`
	Priority       int
	Filename       string
	TargetGroupARN string `json:"target_group_arn"`
	TargetID       string `json:"target_id"`
	Condition      []struct {
		Path []struct {
			Values []string
		} `json:"path_pattern"`
		Method []struct {
			Values []string
		} `json:"http_request_method"`
	}
	Action []struct {
		TargetGroupARN string `json:"target_group_arn"`
	}
	DefaultAction []struct {
		Fixed []struct {
			Status string `json:"status_code"`
			Body   string `json:"message_body"`
		} `json:"fixed_response"`
	} `json:"default_action"`
}

// each calls f with every resource of the type.
func (s *state) each(kind string, f func(name string, v values)) error {
	for _, r := range s.Root.Resources {
		if r.Type != kind {
			continue
		}
		var v values
		if err := json.Unmarshal(r.Values, &v); err != nil {
			return fmt.Errorf("%s.%s: %w", r.Type, r.Name, err)
		}
		f(r.Name, v)
	}
	return nil
}

// A balancer is what the deployment's load balancer does with a request.
type balancer struct {
	rules    []rule // by priority
	notFound string // body of the 404 that everything else gets
}

type rule struct {
	priority       int
	paths, methods []string // none: any
	to             string   // "nodes", or a function by its folder
}

func newBalancer(s *state) (*balancer, error) {
	b := &balancer{}
	folder := map[string]string{} // of a function's zip, by its ARN
	target := map[string]string{} // by its target group's ARN
	err := errors.Join(
		s.each("aws_lambda_function", func(_ string, v values) {
			folder[v.ARN] = strings.TrimSuffix(path.Base(v.Filename), ".zip")
		}),
		s.each("aws_lb_target_group_attachment", func(_ string, v values) {
			target[v.TargetGroupARN] = folder[v.TargetID]
		}),
		s.each("aws_lb_target_group", func(name string, v values) {
			if name == "nodes" {
				target[v.ARN] = "nodes"
			}
		}),
		s.each("aws_lb_listener", func(_ string, v values) {
			b.notFound = v.DefaultAction[0].Fixed[0].Body
		}),
		s.each("aws_lb_listener_rule", func(_ string, v values) {
			made := rule{priority: v.Priority, to: target[v.Action[0].TargetGroupARN]}
			for _, c := range v.Condition {
				for _, p := range c.Path {
					made.paths = append(made.paths, p.Values...)
				}
				for _, m := range c.Method {
					made.methods = append(made.methods, m.Values...)
				}
			}
			b.rules = append(b.rules, made)
		}),
	)
	slices.SortFunc(b.rules, func(x, y rule) int { return x.priority - y.priority })
	for i, r := range b.rules {
		if n := len(r.paths) + len(r.methods); n > 5 {
			err = errors.Join(err, fmt.Errorf("the rule for %v has %d condition values; AWS takes 5", r.paths, n))
		}
		if i > 0 && r.priority == b.rules[i-1].priority {
			err = errors.Join(err, fmt.Errorf("two rules have the priority %d", r.priority))
		}
	}
	return b, err
}

// route says where a request goes: "nodes", a function, or "404".
func (b *balancer) route(method, path string) string {
	for _, r := range b.rules {
		matches := func(pattern string) bool { return wildcard(pattern, path) }
		if (len(r.methods) == 0 || slices.Contains(r.methods, method)) && (len(r.paths) == 0 || slices.ContainsFunc(r.paths, matches)) {
			return r.to
		}
	}
	return "404"
}

// wildcard matches as the balancer does: * is any run of characters, slashes too,
// and ? is any one.
func wildcard(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	switch pattern[0] {
	case '*':
		for i := range len(s) + 1 {
			if wildcard(pattern[1:], s[i:]) {
				return true
			}
		}
		return false
	case '?':
		return s != "" && wildcard(pattern[1:], s[1:])
	default:
		return s != "" && s[0] == pattern[0] && wildcard(pattern[1:], s[1:])
	}
}

// parameters are channels and peers as they come in a path: encoded, decoded on
// the way, and made to look like other routes.
var parameters = []string{
	"a", "devices%2Fcam-1%2Fcommands", "devices%2fcam-1", "devices/cam-1/commands", "a%25b", "a+b", "%2A", "*",
	"v1/tokens", "publish", "peers", "x/publish", "x/peers", "x%2Fpublish", "a//b", "%C3%BC", "usage",
}

// checkRoutes says where the balancer differs from the functions.
func checkRoutes(b *balancer, wanted []routes.Route) (found []string) {
	complain := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }

	// No pattern too many, none missing.
	have, want := map[string]bool{}, map[string]bool{"nodes GET /v1": true, "nodes GET /v1/": true}
	for _, r := range b.rules {
		for _, p := range r.paths {
			if len(r.methods) == 0 {
				have[r.to+" "+p] = true
			}
			for _, m := range r.methods {
				have[r.to+" "+m+" "+p] = true
			}
		}
	}
	for _, r := range wanted {
		before, after, templated := strings.Cut(r.Path, "{")
		pattern := before
		if templated {
			_, after, _ = strings.Cut(after, "}")
			pattern += "*" + after
		}
		want[r.Function+" "+pattern] = true
		if !strings.HasSuffix(pattern, "*") {
			want[r.Function+" "+pattern+"/"] = true
		}
	}
	for w := range want {
		if !have[w] {
			complain("the balancer has no rule %q", w)
		}
	}
	for h := range have {
		if !want[h] {
			complain("the balancer has a rule %q that no handler serves", h)
		}
	}

	// Each request arrives, whatever its parameter looks like.
	for _, r := range wanted {
		for _, parameter := range parameters {
			before, rest, templated := strings.Cut(r.Path, "{")
			p := before
			if templated {
				_, after, _ := strings.Cut(rest, "}")
				p += parameter + after
			}
			// PUT: it is the function that knows the Allow of a 405.
			for _, method := range []string{r.Method, "PUT"} {
				for _, slash := range []string{"", "/"} {
					if to := b.route(method, p+slash); to != r.Function {
						complain("%s %s goes to %s, not to %s", method, p+slash, to, r.Function)
					}
				}
			}
			if !templated {
				break
			}
		}
	}
	for _, request := range []struct{ method, path, to string }{
		{"GET", "/v1", "nodes"},
		{"POST", "/v1", "404"},
		{"GET", "/v1/", "nodes"},
		{"GET", "/v1//", "404"},
		{"POST", "/v1/", "404"},
		{"GET", "/", "404"},
		{"GET", "/healthz", "404"},
		{"GET", "/metrics", "404"},
		{"POST", "/v1/tokens//", "404"},
		{"POST", "/v1/tokensx", "404"},
		{"POST", "/V1/TOKENS", "404"},
		{"POST", "/v2/tokens", "404"},
		{"POST", "/x/v1/tokens", "404"},
		{"GET", "/v1/channels/a/subscribe", "404"},
		{"GET", "/v1/channels/a%2Fpublish", "404"},
		{"GET", "/v1/usage/other", "404"},
	} {
		if to := b.route(request.method, request.path); to != request.to {
			complain("%s %s goes to %s, not to %s", request.method, request.path, to, request.to)
		}
	}

	// The sentence of the 404 names the routes with their methods.
	var body struct{ Error, Message string }
	if err := json.Unmarshal([]byte(b.notFound), &body); err != nil {
		complain("the 404 is no JSON: %q", b.notFound)
	}
	var names []string
	for _, r := range wanted {
		names = append(names, r.String())
	}
	_, list, _ := strings.Cut(body.Message, "there is ")
	named := strings.Split(list, ", ")
	slices.Sort(names)
	slices.Sort(named)
	if body.Error != "not_found" || !slices.Equal(names, named) {
		complain("the 404 says %q; the routes are %q", b.notFound, names)
	}
	return found
}

// The rules of the load balancer are exactly the routes that the handlers serve.
func TestRoutes(t *testing.T) {
	r := moduleRuns(t)[wiringFile+"/wiring"]
	if r == nil || r.state == nil {
		t.Fatalf("no state of the mocked apply: %+v", r)
	}
	b, err := newBalancer(r.state)
	if err != nil {
		t.Fatal(err)
	}
	for _, complaint := range checkRoutes(b, wantedRoutes) {
		t.Error(complaint)
	}
}

// What a balancer matches, the handlers' own Match does too, and the other way round.
func TestPatternsMatchAsHandlersDo(t *testing.T) {
	for _, r := range wantedRoutes {
		before, rest, templated := strings.Cut(r.Path, "{")
		if !templated {
			continue
		}
		_, after, _ := strings.Cut(rest, "}")
		balanced := func(p string) bool {
			return wildcard(before+"*"+after, p) || after != "" && wildcard(before+"*"+after+"/", p)
		}
		for _, parameter := range append(parameters, "") {
			p := before + parameter + after
			if _, ok := r.Match(p); !ok || !balanced(p) {
				t.Errorf("%s: %q matches for one and not for the other", r, p)
			}
		}
		for _, p := range []string{strings.TrimSuffix(before, "/") + after, before + "a" + after + "/", "/x" + before + "a" + after} {
			if _, ok := r.Match(p); ok != balanced(p) {
				t.Errorf("%s: %q matches for one and not for the other", r, p)
			}
		}
	}
}
