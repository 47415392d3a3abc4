package archtest

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const root = "../.."

func TestArchitecture(t *testing.T) {
	files, err := load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range violations(files) {
		t.Error(v)
	}
}

// TestLooksAtThisModule: a checker that reads the wrong directory, or whose rules
// name directories that are gone, finds nothing wrong.
func TestLooksAtThisModule(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(mod), "module "+module+"\n") {
		t.Fatalf("%s/go.mod is not module %s", root, module)
	}
	files, err := load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range append(subjects, "pkg/archtest") {
		if !slices.ContainsFunc(files, func(f *file) bool { return f.isGo() && f.under(dir) }) {
			t.Errorf("the rules speak of %s, which has no Go file; if it moved, change the rules with it", dir)
		}
	}
}

// named finds the source files and the directories of Go packages that a page names.
var named = regexp.MustCompile(`[\w/-]+\.(?:go|lua)\b|\b(?:pkg|fanout|functions|clients/go|cli|localdev)/[\w/-]+`)

// TestArchitecturePage: docs/architecture.md sends readers to files and packages, by
// their paths or the ends of these.
func TestArchitecturePage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := load(os.DirFS(root))
	if err != nil {
		t.Fatal(err)
	}
	names := named.FindAllString(string(page), -1)
	if len(names) < 100 {
		t.Fatalf("the page names %d files and packages; the pattern finds too few", len(names))
	}
	for _, name := range names {
		if !slices.ContainsFunc(files, func(f *file) bool { return f.under(name) || strings.HasSuffix("/"+f.path, "/"+name) }) {
			t.Errorf("docs/architecture.md names %s, which is not there", name)
		}
	}
}

// sound is a small module that keeps all rules.
var sound = map[string]string{
	"clients/go/protocol/doc.go":                     "// Package protocol is sound.\npackage protocol\n",
	"clients/go/protocol/codec.go":                   "package protocol\n\nimport \"encoding/json\"\n\nvar _ json.Number\n",
	"clients/go/protocol/codec_test.go":              "package protocol\n\nimport _ \"testing\"\n",
	"clients/go/channel/channel.go":                  "// Package channel is sound.\npackage channel\n",
	"pkg/publish/send/sender.go":                     "// Package send is sound.\npackage send\n\nimport \"github.com/redis/go-redis/v9\"\n\nfunc f(c *redis.Client) { c.Publish(nil, \"\", nil) }\n",
	"pkg/publish/send/publish.lua":                   "redis.call('PUBLISH', KEYS[1], ARGV[1])\n",
	"fanout/internal/receiver/link.go":               "// Package receiver is sound.\npackage receiver\n\nimport \"github.com/redis/go-redis/v9\"\n\nfunc f(c *redis.Client) { c.PSubscribe(nil); c.Publish(nil, \"\", nil) }\n",
	"fanout/internal/receiver/receivertest/suite.go": "// Package receivertest is sound.\npackage receivertest\n\nimport (\n\t_ \"github.com/alicebob/miniredis/v2\"\n\t\"testing\"\n)\n\nvar _ *testing.T\n",
	"pkg/embedded/embedded.go":                       "// Package embedded is sound.\npackage embedded\n\nimport _ \"github.com/alicebob/miniredis/v2\"\n",
	"pkg/quota/quota.go":                             "// Package quota is sound.\npackage quota\n\nimport _ \"fleetwire/pkg/apps\"\n",
	"pkg/sink/kafka/kafka.go":                        "// Package kafka is sound.\npackage kafka\n\nimport _ \"github.com/twmb/franz-go/pkg/kgo\"\n",
	"pkg/quota/quota.lua":                            "-- may say publish\nredis.call('INCR', KEYS[1])\n",
	"functions/publish/handler.go":                   "// Package publish is sound.\npackage publish\n\nimport (\n\t_ \"fleetwire/functions/internal/api\"\n\t_ \"fleetwire/pkg/publish\"\n)\n\nfunc f(s interface{ Publish() }) { s.Publish() }\n",
	"functions/publish/bootstrap/main.go": "// Bootstrap is sound.\npackage main\n\nimport _ \"fleetwire/functions/internal/lambda\"\n" +
		strings.Repeat("\n", maxBootstrapLines-4),
	"fanout/main.go":                        "// Fanout is sound.\npackage main\n\nimport _ \"fleetwire/fanout/node\"\n" + strings.Repeat("\n", maxFanoutLines-4),
	"fanout/controlplane/rest.go":           "// Package controlplane is sound.\npackage controlplane\n\nimport (\n\t_ \"fleetwire/fanout/node\"\n\t_ \"fleetwire/functions/routes\"\n)\n",
	"fanout/node/node.go":                   "// Package node is sound.\npackage node\n\nimport _ \"fleetwire/fanout/internal/door\"\n",
	"fanout/internal/door/door.go":          "// Package door is sound.\npackage door\n\nimport _ \"github.com/gofiber/fiber/v2\"\n",
	"fanout/node/node_test.go":              "package node\n\nimport (\n\t_ \"fleetwire/fanout/internal/receiver/receivertest\"\n\t_ \"testing\"\n)\n" + strings.Repeat("\n", maxFileLines),
	"localdev/main.go":                      "// Localdev is sound.\npackage main\n\nimport _ \"fleetwire/localdev/stack\"\n",
	"localdev/stack/stack.go":               "// Package stack is sound.\npackage stack\n\nimport (\n\t_ \"fleetwire/fanout/node\"\n\t_ \"fleetwire/functions/publish\"\n\t_ \"github.com/alicebob/miniredis/v2\"\n)\n" + strings.Repeat("\n", maxFileLines-8),
	"examples/story_test.go":                "// Package examples_test is sound.\npackage examples_test\n\nimport _ \"fleetwire/localdev/stack\"\n",
	"node_modules/x/broken.go":              "this is not ours, and not Go",
	"clients/go/protocol/testdata/input.go": "nor this",
}

// TestRules breaks each rule in a sound module, and wants that one violation and
// no other.
func TestRules(t *testing.T) {
	tests := []struct {
		name   string
		change map[string]string
		rule   string // "" when nothing is broken
		want   string // in the violation
	}{
		{name: "sound"},

		{name: "no package doc", rule: "package doc", want: "clients/go/channel: no file has",
			change: map[string]string{"clients/go/channel/channel.go": "package channel\n"}},
		{name: "a main without doc", rule: "package doc", want: "localdev: no file has",
			change: map[string]string{"localdev/main.go": "package main\n"}},
		{name: "doc in a test file only", rule: "package doc", want: "clients/go/channel: no file has",
			change: map[string]string{
				"clients/go/channel/channel.go":      "package channel\n",
				"clients/go/channel/channel_test.go": "// Package channel is told in the wrong place.\npackage channel\n"}},
		{name: "two docs", rule: "package doc", want: "both codec.go and doc.go",
			change: map[string]string{"clients/go/protocol/codec.go": "// Package protocol again.\npackage protocol\n"}},
		{name: "a licence in the doc's place", rule: "package doc", want: `should begin "Package channel "`,
			change: map[string]string{"clients/go/channel/channel.go": "// Copyright somebody.\npackage channel\n"}},

		{name: "protocol imports a library", rule: "standard library alone", want: "clients/go/protocol/codec.go: imports golang.org/x/time/rate",
			change: map[string]string{"clients/go/protocol/codec.go": "package protocol\n\nimport _ \"golang.org/x/time/rate\"\n"}},
		{name: "channel imports one of ours", rule: "standard library alone", want: "imports fleetwire/clients/go/protocol",
			change: map[string]string{"clients/go/channel/match.go": "package channel\n\nimport _ \"fleetwire/clients/go/protocol\"\n"}},

		{name: "the Go client imports the inside", rule: "the Go client stands alone", want: "clients/go/client/rest.go: imports fleetwire/pkg/auth",
			change: map[string]string{"clients/go/client/rest.go": "// Package client is not sound.\npackage client\n\nimport _ \"fleetwire/pkg/auth\"\n"}},
		{name: "a test of the Go client needs a library", rule: "the Go client stands alone", want: "clients/go/client/rest_test.go: imports go.uber.org/goleak",
			change: map[string]string{"clients/go/client/rest_test.go": "// Package client is not sound.\npackage client\n\nimport _ \"go.uber.org/goleak\"\n"}},
		{name: "pkg imports the client", rule: "pkg imports pkg", want: "imports fleetwire/clients/go/client",
			change: map[string]string{"pkg/quota/quota.go": "// Package quota is not.\npackage quota\n\nimport _ \"fleetwire/clients/go/client\"\n"}},

		{name: "pkg imports fanout", rule: "pkg imports pkg", want: "pkg/quota/quota.go: imports fleetwire/fanout/node",
			change: map[string]string{"pkg/quota/quota.go": "// Package quota is not.\npackage quota\n\nimport _ \"fleetwire/fanout/node\"\n"}},
		{name: "a test in pkg imports localdev", rule: "pkg imports pkg", want: "pkg/quota/quota_test.go: imports fleetwire/localdev/stack",
			change: map[string]string{"pkg/quota/quota_test.go": "package quota\n\nimport _ \"fleetwire/localdev/stack\"\n"}},
		{name: "a function imports fanout", rule: "functions import pkg", want: "imports fleetwire/fanout/node",
			change: map[string]string{"functions/publish/door.go": "package publish\n\nimport _ \"fleetwire/fanout/node\"\n"}},
		{name: "a function imports localdev", rule: "functions import pkg", want: "imports fleetwire/localdev/stack",
			change: map[string]string{"functions/publish/door.go": "package publish\n\nimport _ \"fleetwire/localdev/stack\"\n"}},
		{name: "fanout imports a function", rule: "fanout imports pkg", want: "imports fleetwire/functions/publish",
			change: map[string]string{"fanout/node/rest.go": "package node\n\nimport _ \"fleetwire/functions/publish\"\n"}},
		{name: "a node mounts the routes", rule: "fanout imports pkg", want: "fanout/node/rest.go: imports fleetwire/functions/routes",
			change: map[string]string{"fanout/node/rest.go": "package node\n\nimport _ \"fleetwire/functions/routes\"\n"}},
		{name: "the control plane knows one function", rule: "fanout imports pkg", want: "fanout/controlplane/tokens.go: imports fleetwire/functions/tokens",
			change: map[string]string{"fanout/controlplane/tokens.go": "package controlplane\n\nimport _ \"fleetwire/functions/tokens\"\n"}},
		{name: "fanout imports localdev", rule: "fanout imports pkg", want: "imports fleetwire/localdev/stack",
			change: map[string]string{"fanout/node/rest.go": "package node\n\nimport _ \"fleetwire/localdev/stack\"\n"}},
		{name: "the control plane knows the console",
			change: map[string]string{"fanout/controlplane/page.go": "package controlplane\n\nimport _ \"fleetwire/console\"\n"}},
		{name: "a node serves the console", rule: "fanout imports pkg", want: "fanout/node/page.go: imports fleetwire/console",
			change: map[string]string{"fanout/node/page.go": "package node\n\nimport _ \"fleetwire/console\"\n"}},
		{name: "the console knows a function", rule: "the console imports pkg", want: "console/page.go: imports fleetwire/functions/peers",
			change: map[string]string{"console/page.go": "// Package console is not sound.\npackage console\n\nimport _ \"fleetwire/functions/peers\"\n"}},
		{name: "the console builds its page", rule: "esbuild in the bundle's build", want: "console/page.go: imports github.com/evanw/esbuild/pkg/api",
			change: map[string]string{"console/page.go": "// Package console is not sound.\npackage console\n\nimport _ \"github.com/evanw/esbuild/pkg/api\"\n"}},
		{name: "a tool builds the page",
			change: map[string]string{"console/bundle/main.go": "// Bundle is sound.\npackage main\n\nimport _ \"github.com/evanw/esbuild/pkg/api\"\n"}},
		{name: "a driver imports the inside", rule: "examples and drivers import clients/go/client and clients/go/protocol alone", want: "clients/suite/godriver/main.go: imports fleetwire/pkg/apps",
			change: map[string]string{"clients/suite/godriver/main.go": "// Godriver is not sound.\npackage main\n\nimport _ \"fleetwire/pkg/apps\"\n"}},
		{name: "an example imports the inside", rule: "examples and drivers import clients/go/client and clients/go/protocol alone", want: "examples/go/camera/main.go: imports fleetwire/pkg/publish/send",
			change: map[string]string{"examples/go/camera/main.go": "// Camera is not sound.\npackage main\n\nimport _ \"fleetwire/pkg/publish/send\"\n"}},

		{name: "localdev knows fiber", rule: "fiber at the door", want: "imports github.com/gofiber/fiber/v2/middleware/adaptor",
			change: map[string]string{"localdev/stack/rest.go": "package stack\n\nimport _ \"github.com/gofiber/fiber/v2/middleware/adaptor\"\n"}},
		{name: "a node knows fiber", rule: "fiber at the door", want: "fanout/node/http.go: imports github.com/gofiber/fiber/v2",
			change: map[string]string{"fanout/node/http.go": "package node\n\nimport _ \"github.com/gofiber/fiber/v2\"\n"}},
		{name: "a function knows fasthttp", rule: "fiber at the door", want: "imports github.com/valyala/fasthttp",
			change: map[string]string{"functions/publish/fast.go": "package publish\n\nimport _ \"github.com/valyala/fasthttp\"\n"}},
		{name: "pkg knows the websocket library", rule: "fiber at the door", want: "imports github.com/gofiber/contrib/websocket",
			change: map[string]string{"pkg/quota/ws.go": "package quota\n\nimport _ \"github.com/gofiber/contrib/websocket\"\n"}},
		{name: "a handler knows Lambda", rule: "aws-lambda-go in one package", want: "functions/publish/event.go: imports github.com/aws/aws-lambda-go/events",
			change: map[string]string{"functions/publish/event.go": "package publish\n\nimport _ \"github.com/aws/aws-lambda-go/events\"\n"}},
		{name: "a bootstrap knows Lambda", rule: "aws-lambda-go in one package", want: "functions/publish/bootstrap/main.go: imports github.com/aws/aws-lambda-go/lambda",
			change: map[string]string{"functions/publish/bootstrap/main.go": "// Bootstrap is not sound.\npackage main\n\nimport _ \"github.com/aws/aws-lambda-go/lambda\"\n"}},
		{name: "the adapter knows Lambda",
			change: map[string]string{"functions/internal/lambda/function.go": "// Package lambda is sound.\npackage lambda\n\nimport _ \"github.com/aws/aws-lambda-go/lambda\"\n"}},
		{name: "localdev imports cli", rule: "nothing imports cli", want: "localdev/stack/cli.go: imports fleetwire/cli/internal/cmd",
			change: map[string]string{"localdev/stack/cli.go": "package stack\n\nimport _ \"fleetwire/cli/internal/cmd\"\n"}},
		{name: "two packages of one name", rule: "packages of one name apart", want: "fanout/node/send.go: imports fleetwire/pkg/publish/send and fleetwire/fanout/internal/send",
			change: map[string]string{"fanout/node/send.go": "package node\n\nimport (\n\t_ \"fleetwire/pkg/publish/send\"\n\tout \"fleetwire/fanout/internal/send\"\n)\n"}},
		{name: "a bootstrap imports a function and its namesake",
			change: map[string]string{"functions/publish/bootstrap/main.go": "// Bootstrap is sound.\npackage main\n\nimport (\n\t_ \"fleetwire/functions/publish\"\n\t_ \"fleetwire/pkg/publish\"\n)\n"}},
		{name: "a node asks AWS", rule: "the AWS SDK in few packages", want: "fanout/node/secrets.go: imports github.com/aws/aws-sdk-go-v2/service/secretsmanager",
			change: map[string]string{"fanout/node/secrets.go": "package node\n\nimport _ \"github.com/aws/aws-sdk-go-v2/service/secretsmanager\"\n"}},
		{name: "a target asks AWS",
			change: map[string]string{"pkg/sink/sqs/sqs.go": "// Package sqs is sound.\npackage sqs\n\nimport _ \"github.com/aws/aws-sdk-go-v2/service/sqs\"\n"}},
		{name: "a function makes traces", rule: "OpenTelemetry in one package", want: "functions/publish/trace.go: imports fleetwire/pkg/tracing",
			change: map[string]string{"functions/publish/trace.go": "package publish\n\nimport _ \"fleetwire/pkg/tracing\"\n"}},
		{name: "a node knows OpenTelemetry", rule: "OpenTelemetry in one package", want: "fanout/node/trace.go: imports go.opentelemetry.io/otel/trace",
			change: map[string]string{"fanout/node/trace.go": "package node\n\nimport _ \"go.opentelemetry.io/otel/trace\"\n"}},
		{name: "a function knows a target", rule: "targets of sinks in nodes", want: "functions/publish/sink.go: imports fleetwire/pkg/sink/targets",
			change: map[string]string{"functions/publish/sink.go": "package publish\n\nimport _ \"fleetwire/pkg/sink/targets\"\n"}},
		{name: "a function knows what a sink is",
			change: map[string]string{"functions/publish/sink.go": "package publish\n\nimport _ \"fleetwire/pkg/sink\"\n"}},
		{name: "a node makes targets",
			change: map[string]string{"fanout/node/sinks.go": "package node\n\nimport _ \"fleetwire/pkg/sink/targets\"\n"}},
		{name: "a node knows one target", rule: "targets of sinks in nodes", want: "fanout/node/sinks.go: imports fleetwire/pkg/sink/kafka",
			change: map[string]string{"fanout/node/sinks.go": "package node\n\nimport _ \"fleetwire/pkg/sink/kafka\"\n"}},
		{name: "the registry of targets knows Kafka", rule: "targets of sinks in nodes", want: "pkg/sink/targets/new.go: imports github.com/twmb/franz-go/pkg/kgo",
			change: map[string]string{"pkg/sink/targets/new.go": "// Package targets is not.\npackage targets\n\nimport _ \"github.com/twmb/franz-go/pkg/kgo\"\n"}},
		{name: "fanout knows an embedded Redis", rule: "an embedded Redis in localdev and tests", want: "fanout/node/redis.go: imports fleetwire/pkg/embedded",
			change: map[string]string{"fanout/node/redis.go": "package node\n\nimport _ \"fleetwire/pkg/embedded\"\n"}},
		{name: "fanout knows miniredis", rule: "an embedded Redis in localdev and tests", want: "fanout/node/redis.go: imports",
			change: map[string]string{"fanout/node/redis.go": "package node\n\nimport _ \"github.com/alicebob/miniredis/v2\"\n"}},
		{name: "a test knows miniredis",
			change: map[string]string{"fanout/node/redis_test.go": "package node\n\nimport _ \"github.com/alicebob/miniredis/v2\"\n"}},
		{name: "a product file imports testing", rule: "test code in tests", want: "pkg/quota/helper.go: imports testing",
			change: map[string]string{"pkg/quota/helper.go": "package quota\n\nimport _ \"testing\"\n"}},
		{name: "chaos imports testing",
			change: map[string]string{"chaos/internal/stage/host.go": "// Package stage is sound.\npackage stage\n\nimport _ \"testing\"\n"}},
		{name: "localdev imports a test package", rule: "test code in tests", want: "imports fleetwire/fanout/internal/receiver/receivertest",
			change: map[string]string{"localdev/stack/redis.go": "package stack\n\nimport _ \"fleetwire/fanout/internal/receiver/receivertest\"\n"}},

		{name: "a node subscribes by pattern", rule: "Redis pub/sub in two packages", want: "fanout/node/sub.go: calls PSubscribe",
			change: map[string]string{"fanout/node/sub.go": "package node\n\nfunc f(c interface{ PSubscribe(string) }) { c.PSubscribe(\"x*\") }\n"}},
		{name: "a function publishes past pkg/publish/send", rule: "Redis pub/sub in two packages", want: "calls Publish and imports go-redis",
			change: map[string]string{"functions/publish/short.go": "package publish\n\nimport \"github.com/redis/go-redis/v9\"\n\nfunc g(c *redis.Client) { c.Publish(nil, \"x\", nil) }\n"}},
		{name: "members subscribes", rule: "Redis pub/sub in two packages", want: "fanout/internal/members/sub.go: calls Subscribe and imports go-redis",
			change: map[string]string{"fanout/internal/members/sub.go": "// Package members subscribes.\npackage members\n\nimport \"github.com/redis/go-redis/v9\"\n\nfunc g(c *redis.Client) { c.Publish(nil, \"x\", nil); c.Subscribe(nil, \"x\") }\n"}},
		{name: "publishing receives", rule: "Redis pub/sub in two packages", want: "pkg/publish/send/receive.go: calls PSubscribe",
			change: map[string]string{"pkg/publish/send/receive.go": "package send\n\nfunc f(c interface{ PSubscribe(string) }) { c.PSubscribe(\"x*\") }\n"}},
		{name: "a script publishes", rule: "Redis pub/sub in two packages", want: "pkg/quota/quota.lua: publishes",
			change: map[string]string{"pkg/quota/quota.lua": "redis.call(\"SPUBLISH\", KEYS[1], '')\n"}},

		{name: "a package spells a key", rule: "names in Redis in pkg/rediskeys", want: "pkg/quota/quota.go: spells",
			change: map[string]string{"pkg/quota/quota.go": "// Package quota spells.\npackage quota\n\nfunc key(app string) string { return \"fw:{\" + app + \"}:x\" }\n"}},
		{name: "a package spells a topic in backquotes", rule: "names in Redis in pkg/rediskeys", want: "fanout/node/topic.go: spells",
			change: map[string]string{"fanout/node/topic.go": "package node\n\nconst all = `fw:0:*`\n"}},
		{name: "a script spells a key", rule: "names in Redis in pkg/rediskeys", want: "pkg/quota/quota.lua: spells",
			change: map[string]string{"pkg/quota/quota.lua": "redis.call('DEL', 'fw:x')\n"}},
		{name: "the names' own package spells them",
			change: map[string]string{"pkg/rediskeys/keys.go": "// Package rediskeys is sound.\npackage rediskeys\n\nconst probe = \"fw:probe\"\n"}},

		{name: "the read loop knows grants", rule: "a connection's bytes apart from their meaning", want: "fanout/internal/conn/read.go: imports fleetwire/pkg/auth",
			change: map[string]string{"fanout/internal/conn/read.go": "// Package conn mixes.\npackage conn\n\nimport (\n\t_ \"fleetwire/pkg/auth\"\n\t_ \"fleetwire/clients/go/protocol\"\n)\n"}},
		{name: "a connection knows its session", rule: "a connection's bytes apart from their meaning", want: "fanout/internal/conn/conn_test.go: imports fleetwire/fanout/internal/session",
			change: map[string]string{
				"fanout/internal/conn/conn.go":      "// Package conn is sound.\npackage conn\n",
				"fanout/internal/conn/conn_test.go": "package conn\n\nimport (\n\t_ \"fleetwire/fanout/internal/conn/conntest\"\n\t_ \"fleetwire/fanout/internal/session\"\n)\n"}},
		{name: "a session knows its connection",
			change: map[string]string{"fanout/internal/session/scope.go": "// Package session is sound.\npackage session\n\nimport (\n\t_ \"fleetwire/fanout/internal/conn\"\n\t_ \"fleetwire/pkg/auth\"\n)\n"}},

		{name: "a long file", rule: "file length", want: "pkg/quota/long.go: 501 lines; at most 500",
			change: map[string]string{"pkg/quota/long.go": "package quota\n" + strings.Repeat("\n", maxFileLines)}},
		{name: "fanout's main is long", rule: "short mains", want: "fanout: its main is 81 lines; at most 80",
			change: map[string]string{"fanout/main.go": "// Fanout is long.\npackage main\n" + strings.Repeat("\n", maxFanoutLines-1)}},
		{name: "fanout's main is long in two files", rule: "short mains", want: "fanout: its main is 82 lines",
			change: map[string]string{"fanout/config.go": "package main\n\n"}},
		{name: "a bootstrap is long", rule: "short mains", want: "functions/publish/bootstrap: its main is 41 lines; at most 40",
			change: map[string]string{"functions/publish/bootstrap/main.go": "// Bootstrap is long.\npackage main\n" + strings.Repeat("\n", maxBootstrapLines-1)}},
	}
	seeded := map[string]bool{}
	for _, tt := range tests {
		seeded[tt.rule] = true
		t.Run(tt.name, func(t *testing.T) {
			files, err := load(moduleFS(tt.change))
			if err != nil {
				t.Fatal(err)
			}
			got := violations(files)
			if tt.rule == "" {
				if len(got) > 0 {
					t.Fatalf("found %q in a sound module", got)
				}
				return
			}
			if len(got) != 1 || !strings.HasPrefix(got[0], tt.rule+": ") || !strings.Contains(got[0], tt.want) {
				t.Fatalf("found %q; want one violation of %q with %q", got, tt.rule, tt.want)
			}
			i := slices.IndexFunc(rules, func(r rule) bool { return r.name == tt.rule })
			if !strings.HasSuffix(got[0], "\n\twhy: "+rules[i].reason) {
				t.Errorf("the failure %q does not end with the rule's reason", got[0])
			}
		})
	}
	for _, r := range rules {
		if !seeded[r.name] {
			t.Errorf("no case breaks the rule %q: nobody knows that it can fail", r.name)
		}
	}
}

func TestLoadNamesTheBrokenFile(t *testing.T) {
	_, err := load(moduleFS(map[string]string{"pkg/quota/broken.go": "package\n"}))
	if err == nil || !strings.Contains(fmt.Sprint(err), "pkg/quota/broken.go") {
		t.Fatalf("error %v; want one that names pkg/quota/broken.go", err)
	}
}

// moduleFS is the sound module with some files changed.
func moduleFS(change map[string]string) fs.FS {
	texts := maps.Clone(sound)
	maps.Copy(texts, change)
	m := fstest.MapFS{}
	for name, text := range texts {
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return m
}
