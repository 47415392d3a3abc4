package infra

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A mistake is one that somebody could make in the module: old becomes new in
// file. Then the run must fail, and say what is wrong.
type mistake struct {
	name      string
	file      string
	old, new  string
	test, run string // "wiring", "plan", …; empty: the routes must differ
	says      string
}

var mistakes = []mistake{
	// What requests reach.
	{name: "a lost route", file: "routes.tf",
		old: `    { method = "POST", path = "/v1/channels/{channel}/publish", function = "publish" },` + "\n", new: "",
		says: `no rule "publish /v1/channels/*/publish"`},
	{name: "a route of another function", file: "routes.tf",
		old: `path = "/v1/usage/peers", function = "usage"`, new: `path = "/v1/usage/peers", function = "peers"`,
		says: "GET /v1/usage/peers goes to peers, not to usage"},
	{name: "a route with another method", file: "routes.tf",
		old: `{ method = "DELETE", path`, new: `{ method = "POST", path`,
		says: `the 404 says`},
	{name: "a pattern that takes too much", file: "routes.tf",
		old: `replace(r.path, "/{[a-z]+}/", "*")`, new: `replace(r.path, "/{[a-z]+}.*/", "*")`,
		says: "a rule \"publish /v1/channels/*\" that no handler serves"},
	{name: "paths without their slash", file: "routes.tf",
		old: `endswith(r.path, "}") ? [""] : ["", "/"]`, new: `[""]`,
		says: `no rule "tokens /v1/tokens/"`},
	{name: "a rule with too many paths", file: "routes.tf",
		old: `chunklist(paths, 5)`, new: `chunklist(paths, 6)`,
		says: "AWS takes 5"},
	{name: "sockets by any method", file: "alb.tf",
		old: "values = [\"GET\"]", new: "values = [\"GET\", \"POST\"]",
		says: "POST /v1 goes to nodes, not to 404"},
	{name: "the function's zip of another", file: "functions.tf",
		old: "filename         = \"${var.functions_dir}/${each.key}.zip\"", new: "filename         = \"${var.functions_dir}/tokens.zip\"",
		test: "plan", run: "defaults", says: "Each function has its own zip"},
	{name: "two rules of one priority", file: "routes.tf",
		old: "publish = 20", new: "publish = 10",
		test: "plan", run: "defaults", says: "No two rules may have one priority"},
	{name: "functions' paths to the nodes", file: "alb.tf",
		old: "target_group_arn = aws_lb_target_group.function[each.value.function].arn\n", new: "target_group_arn = aws_lb_target_group.nodes.arn\n",
		test: "wiring", run: "wiring", says: "must go to its own target group"},
	{name: "sockets to a function", file: "alb.tf",
		old: "target_group_arn = aws_lb_target_group.nodes.arn", new: "target_group_arn = aws_lb_target_group.function[\"tokens\"].arn",
		test: "wiring", run: "wiring", says: "GET /v1 must go to the nodes"},
	{name: "a target group with another function", file: "alb.tf",
		old: "target_id        = aws_lambda_function.this[each.key].arn", new: "target_id        = aws_lambda_function.this[\"tokens\"].arn",
		test: "wiring", run: "wiring", says: "must hold its own function"},
	{name: "single-value headers", file: "alb.tf",
		old: "lambda_multi_value_headers_enabled = true", new: "lambda_multi_value_headers_enabled = false",
		test: "plan", run: "defaults", says: "multi-value headers"},
	{name: "an idle timeout below the ping interval", file: "alb.tf",
		old: "idle_timeout = 60", new: "idle_timeout = 20",
		test: "plan", run: "defaults", says: "idle timeout must lie between"},
	{name: "access logs without being asked", file: "alb.tf",
		old: "for_each = var.access_logs_bucket == null ? [] : [var.access_logs_bucket]", new: "for_each = [coalesce(var.access_logs_bucket, \"logs\")]",
		test: "plan", run: "defaults", says: "Access logs hold tokens"},

	// Draining.
	{name: "a drain as long as the delay", file: "alb.tf",
		old: "var.drain_seconds + 60", new: "var.drain_seconds",
		test: "plan", run: "defaults", says: "deregistration delay must be the drain time and 60 s"},
	{name: "a node that drains longer than was said", file: "nodes.tf",
		old: "\"${var.drain_seconds}s\"", new: "\"${var.drain_seconds * 2}s\"",
		test: "wiring", run: "wiring", says: "A node must have drained 60 s before"},
	{name: "a node that does not know its target group", file: "nodes.tf",
		old: "{ name = \"FLEETWIRE_TARGET_GROUP_ARN\", value = aws_lb_target_group.nodes.arn },", new: "{ name = \"FLEETWIRE_TARGET_GROUP_ARN\", value = aws_lb_target_group.function[\"tokens\"].arn },",
		test: "wiring", run: "wiring", says: "whether it drains"},
	{name: "a node that may read from queues", file: "sinks.tf",
		old: `["sqs:SendMessage"]`, new: `["sqs:SendMessage", "sqs:ReceiveMessage"]`,
		test: "wiring", run: "wiring", says: "and write to its sinks"},
	{name: "functions that reach sinks", file: "sinks.tf",
		old: `aws_security_group.this["nodes"]`, new: `aws_security_group.this["functions"]`,
		test: "wiring", run: "wiring", says: "Nodes, and they alone, reach the sinks"},
	{name: "networks of sinks that no node is told of", file: "nodes.tf",
		old: `], local.sink_environment)`, new: `])`,
		test: "wiring", run: "wiring", says: "which private networks webhooks may reach"},
	{name: "zone rebalancing", file: "nodes.tf",
		old: "  availability_zone_rebalancing = \"DISABLED\"\n", new: "  availability_zone_rebalancing = \"ENABLED\"\n",
		test: "plan", run: "defaults", says: "Zone rebalancing would end nodes"},
	{name: "a short stop timeout", file: "nodes.tf",
		old: "stopTimeout = 120", new: "stopTimeout = 30",
		test: "wiring", run: "wiring", says: "has 120 s"},
	{name: "a health check that a Redis outage fails", file: "alb.tf",
		old: `"/healthz"`, new: `"/readyz"`,
		test: "plan", run: "defaults", says: "a Redis outage would end every node"},
	{name: "hasty scaling in", file: "scaling.tf",
		old: "scale_in_cooldown = 900", new: "scale_in_cooldown = 60",
		test: "plan", run: "defaults", says: "15 minutes apart"},

	// Permissions.
	{name: "a node that may not ask whether it drains", file: "nodes.tf",
		old: `"elasticloadbalancing:DescribeTargetHealth"`, new: `"elasticloadbalancing:DescribeTargetGroups"`,
		test: "wiring", run: "wiring", says: "A node may read the apps document and ask"},
	{name: "a node that may read every secret", file: "nodes.tf",
		old: "Resource = aws_secretsmanager_secret.apps.arn", new: "Resource = \"*\"",
		test: "wiring", run: "wiring", says: "A node may read the apps document and ask"},
	{name: "a function that may not read the Redis URL", file: "functions.tf",
		old: "Resource = [aws_secretsmanager_secret.apps.arn, aws_secretsmanager_secret.redis_url.arn]", new: "Resource = [aws_secretsmanager_secret.apps.arn]",
		test: "wiring", run: "wiring", says: "read the secrets"},
	{name: "network interfaces that nobody may make", file: "functions.tf",
		old: "function:${var.name}-${each.key}\" } }", new: "function:*\" } }",
		test: "wiring", run: "wiring", says: "The Deny must be for this function's code alone"},
	{name: "functions that any balancer may invoke", file: "functions.tf",
		old: "source_arn    = aws_lb_target_group.function[each.key].arn", new: "source_arn    = aws_lb_target_group.nodes.arn",
		test: "wiring", run: "wiring", says: "The balancer must be allowed to invoke each function"},
	{name: "Redis closed to the nodes", file: "security.tf",
		old: `    nodes-redis     = { from = "nodes", to = "redis", port = local.redis_port, why = "Redis" }` + "\n", new: "",
		test: "wiring", run: "wiring", says: "Into a group comes what is needed"},

	{name: "a key that a node may not use", file: "nodes.tf",
		old: "    ], local.decrypt_statement)", new: "    ], [])",
		test: "wiring", run: "wiring", says: "ECS may pull the image"},
	{name: "a log group with AWS's key", file: "network.tf",
		old: "  kms_key_id        = var.kms_key_arn\n", new: "",
		test: "wiring", run: "wiring", says: "The key given encrypts"},

	// Deployments and their alarm.
	{name: "a revision that goes before the next one comes", file: "nodes.tf",
		old: "  skip_destroy             = true\n", new: "",
		test: "plan", run: "defaults", says: "The running revision must outlive"},
	{name: "no data, no alarm", file: "alarms.tf",
		old: "treat_missing_data  = \"breaching\"", new: "treat_missing_data  = \"notBreaching\"",
		test: "wiring", run: "wiring", says: "when no node is healthy"},

	// Redis and its password.
	{name: "Redis in clear", file: "redis.tf",
		old: "transit_encryption_enabled = true", new: "transit_encryption_enabled = false",
		test: "plan", run: "defaults", says: "Redis is encrypted on the wire"},
	{name: "Redis in one zone", file: "redis.tf",
		old: "multi_az_enabled           = true", new: "multi_az_enabled           = false",
		test: "plan", run: "defaults", says: "Redis fails over"},
	{name: "a password at every plan", file: "secrets.tf",
		old: "    ignore_changes       = [secret_string]\n", new: "",
		test: "wiring", run: "a_later_plan_keeps_the_password", says: "Unknown condition value"},
	{name: "a password that a new version keeps", file: "secrets.tf",
		old: "    replace_triggered_by = [terraform_data.redis_password_version]\n", new: "",
		test: "wiring", run: "a_new_version_is_a_new_password", says: "A new version is a new password"},
	{name: "the password in plain sight", file: "functions.tf",
		old: "FLEETWIRE_REDIS_URL = aws_secretsmanager_secret.redis_url.arn", new: "FLEETWIRE_REDIS_URL = nonsensitive(aws_secretsmanager_secret_version.redis_url.secret_string)",
		test: "wiring", run: "wiring", says: "The password stands in no environment"},

	// What only the provider knows, and what a validation must refuse.
	{name: "a target group's name that AWS refuses", file: "alb.tf",
		old: "name        = \"${var.name}-${each.key}\"\n", new: "name        = \"${var.name}-function-${each.key}\"\n",
		test: "provider", run: "everything_on", says: "cannot be longer than 32 characters"},
	{name: "a lost validation", file: "variables.tf",
		old: "var.nodes_min >= 2 && ", new: "",
		test: "variables", run: "nodes_min_one", says: "nodes_min"},
}

// seed makes a mistake in the copy of the module in dir.
func seed(t *testing.T, dir string, m mistake) {
	t.Helper()
	name := filepath.Join(dir, m.file)
	source := read(t, name)
	if strings.Count(source, m.old) == 0 {
		t.Fatalf("%s: %s has no %q", m.name, m.file, m.old)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(source, m.old, m.new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

var runBlock = regexp.MustCompile(`(?ms)^run "(\w+)" \{\n(.*?)^\}\n`)

// testFor is a test file with the preamble of one of the module's own, and of its
// runs those from the beginning that are needed for the one named, on the module
// in folder.
func testFor(t *testing.T, test, name, folder string) string {
	t.Helper()
	source := read(t, "terraform/tests/"+test+".tftest.hcl")
	blocks := runBlock.FindAllStringSubmatchIndex(source, -1)
	if len(blocks) == 0 {
		t.Fatalf("%s has no runs", test)
	}
	var b strings.Builder
	b.WriteString(source[:blocks[0][0]])
	for i, at := range blocks {
		block, body := source[at[2]:at[3]], source[at[4]:at[5]]
		// The first apply is what a later one is compared with.
		if block == name || i == 0 && test == "wiring" {
			fmt.Fprintf(&b, "run %q {\n  module {\n    source = %q\n  }\n\n%s}\n\n", block, folder, body)
		}
		if block == name {
			return b.String()
		}
	}
	t.Fatalf("%s has no run %q", test, name)
	return ""
}

// Each mistake, made alone, fails the test that is there for it. One terraform
// runs them all: starting it takes longer than any of them.
func TestMistakes(t *testing.T) {
	module(t) // skips where there is no terraform
	dir := t.TempDir()
	copyModule(t, dir)
	own, _ := filepath.Glob(filepath.Join(dir, "tests", "*.tftest.hcl"))
	for _, f := range own {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	file := func(i int) string { return fmt.Sprintf("tests/mistake%02d.tftest.hcl", i) }
	var routes, others []string
	for i, m := range mistakes {
		folder := fmt.Sprintf("./mistakes/%02d", i)
		copyModule(t, filepath.Join(dir, folder))
		seed(t, filepath.Join(dir, folder), m)
		if m.says == "" {
			t.Fatalf("%s: by which words is it caught?", m.name)
		}
		if m.test == "" {
			m.test, m.run = "wiring", "wiring"
			routes = append(routes, file(i))
		} else {
			others = append(others, file(i))
		}
		if err := os.WriteFile(filepath.Join(dir, file(i)), []byte(testFor(t, m.test, m.run, folder)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	initialize(t, dir)
	runs := terraformTest(t, dir, true, routes...)
	for key, r := range terraformTest(t, dir, false, others...) {
		runs[key] = r
	}
	for i, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			if m.test == "" {
				r := runs[file(i)+"/wiring"]
				if r == nil || r.state == nil {
					t.Fatalf("no state: %+v", r)
				}
				b, err := newBalancer(r.state)
				found := strings.Join(checkRoutes(b, wantedRoutes), "\n")
				if err != nil {
					found += "\n" + err.Error()
				}
				if !strings.Contains(found, m.says) {
					t.Errorf("not caught: want %q in\n%s", m.says, found)
				}
				return
			}
			r := runs[file(i)+"/"+m.run]
			if r == nil {
				t.Fatalf("%s did not run", m.run)
			}
			if found := strings.Join(r.complaints, "\n"); r.status == "pass" || r.status == "skip" || !strings.Contains(found, m.says) {
				t.Errorf("not caught (%s): want %q in\n%s", r.status, m.says, found)
			}
		})
	}
}
