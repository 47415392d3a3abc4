package archtest

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

const module = "fleetwire"

// A rule finds what breaks it; reason says why it is a rule.
type rule struct {
	name   string
	reason string
	find   func(files []*file) []string // "path: what is wrong there"
}

var rules = []rule{
	{
		name:   "package doc",
		reason: "a reader who opens a directory must learn from one place what it is for",
		find:   findPackageDocs,
	},
	{
		name:   "standard library alone",
		reason: "clients/go/protocol and clients/go/channel are what others may copy to speak to us; they must drag nothing in",
		find: imports(func(f *file, p string) bool {
			return !f.isTest() && f.under("clients/go/protocol", "clients/go/channel") && !isStandard(p)
		}),
	},
	{
		name:   "the Go client stands alone",
		reason: "clients/go is a module that programs on devices require: it must bring nothing of the service into their graph",
		find: imports(func(f *file, p string) bool {
			return f.under("clients/go") && !isStandard(p) && !within(p, module+"/clients/go", "github.com/gobwas/ws", "golang.org/x/time")
		}),
	},
	{
		name:   "pkg imports pkg",
		reason: "imports point from localdev to fanout/node and functions/*, and from those to pkg/*: what all stand on stands on none of them",
		find: imports(func(f *file, p string) bool {
			return f.under("pkg") && within(p, module) && !isContract(p) && !within(p, module+"/pkg")
		}),
	},
	{
		name:   "functions import pkg",
		reason: "a function is deployed without a node: it must build without fanout and localdev",
		find: imports(func(f *file, p string) bool {
			return f.under("functions") && within(p, module) && !isContract(p) && !within(p, module+"/pkg", module+"/functions")
		}),
	},
	{
		name:   "fanout imports pkg",
		reason: "a node is deployed without the functions: it must build without them and without localdev; fanout/controlplane alone puts the routes and the console onto a node, for deployments without Lambda",
		find: imports(func(f *file, p string) bool {
			mounts := f.dir == "fanout/controlplane" && (p == module+"/functions/routes" || p == module+"/console")
			return f.under("fanout") && within(p, module) && !mounts && !isContract(p) && !within(p, module+"/pkg", module+"/fanout")
		}),
	},
	{
		name:   "nothing imports cli",
		reason: "cli is on top: it runs localdev and nodes, and they run without it",
		find: imports(func(f *file, p string) bool {
			return !f.under("cli") && within(p, module+"/cli")
		}),
	},
	{
		name:   "packages of one name apart",
		reason: "of two packages of one name in a file, one has a name there that no other file knows it by; a bootstrap needs the function and the package behind it",
		find:   findNamesakes,
	},
	{
		name:   "examples and drivers import clients/go/client and clients/go/protocol alone",
		reason: "examples, and the drivers of the clients' suite, show what anybody can do from outside: with any library, or with ours that is made for it and what its errors are told by",
		find: imports(func(f *file, p string) bool {
			return f.under("examples", "clients/suite") && !f.isTest() && within(p, module) && p != module+"/clients/go/client" && p != module+"/clients/go/protocol"
		}),
	},
	{
		name:   "the console imports pkg",
		reason: "it speaks to the service as its page does, by the paths of protocol §5, through the handler that it is given",
		find: imports(func(f *file, p string) bool {
			return f.under("console") && !f.isTest() && within(p, module) && !isContract(p) && !within(p, module+"/pkg", module+"/console")
		}),
	},
	{
		name:   "esbuild in the bundle's build",
		reason: "it builds the console's page, which is committed; no product needs it, or grows by it",
		find: imports(func(f *file, p string) bool {
			return !f.under("console/bundle") && within(p, "github.com/evanw/esbuild")
		}),
	},
	{
		name:   "fiber at the door",
		reason: "how connections come in is the door's own affair; everything else speaks net/http, or to fanout/node",
		find: imports(func(f *file, p string) bool {
			return !f.under("fanout/internal/door") && within(p, "github.com/gofiber", "github.com/valyala/fasthttp", "github.com/fasthttp/websocket")
		}),
	},
	{
		name:   "aws-lambda-go in one package",
		reason: "handlers are plain net/http handlers, so that they run in any server; only the adapter that the Lambdas' mains share knows Lambda",
		find: imports(func(f *file, p string) bool {
			return !f.under("functions/internal/lambda") && within(p, "github.com/aws/aws-lambda-go")
		}),
	},
	{
		name:   "the AWS SDK in few packages",
		reason: "Fleetwire runs anywhere; what it asks AWS for is in one place for secrets, one for draining, and one for each target of sinks on AWS",
		find: imports(func(f *file, p string) bool {
			return !f.under("pkg/awssecret", "fanout/internal/targetdrain", "pkg/sink/internal/amazon", "pkg/sink/sqs", "pkg/sink/kinesis") && within(p, "github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go")
		}),
	},
	{
		name:   "targets of sinks in nodes",
		reason: "nodes deliver to sinks, Lambda functions do not: none of them may grow by clients of Kafka and AWS",
		find: imports(func(f *file, p string) bool {
			if f.isTestCode() || f.under("pkg/sink") {
				return within(p, "github.com/twmb/franz-go") && !f.isTestCode() && !f.under("pkg/sink/kafka")
			}
			ofTarget := within(p, module+"/pkg/sink") && p != module+"/pkg/sink"
			makes := f.dir == "fanout/node" && p == module+"/pkg/sink/targets"
			return ofTarget && !makes || within(p, "github.com/twmb/franz-go")
		}),
	},
	{
		name:   "OpenTelemetry in one package",
		reason: "nodes make traces, Lambda functions do not: those would have to wait for a collector, and grow by its client",
		find: imports(func(f *file, p string) bool {
			nodes := f.under("fanout", "localdev") && p == module+"/pkg/tracing"
			return !f.under("pkg/tracing") && !f.isTestCode() && !nodes && within(p, module+"/pkg/tracing", "go.opentelemetry.io")
		}),
	},
	{
		name:   "an embedded Redis in localdev and tests",
		reason: "production runs on a real Redis; an embedded one linked into it would hide a missing address",
		find: imports(func(f *file, p string) bool {
			return !f.under("localdev", "pkg/embedded") && !f.isTestCode() && within(p, "github.com/alicebob/miniredis/v2", module+"/pkg/embedded")
		}),
	},
	{
		name:   "test code in tests",
		reason: "package testing registers flags and test helpers cut corners; neither belongs in a product's binary",
		find: imports(func(f *file, p string) bool {
			return !f.isTestCode() && (p == "testing" || within(p, module) && strings.HasSuffix(path.Base(p), "test"))
		}),
	},
	{
		name:   "Redis pub/sub in two packages",
		reason: "pkg/publish/send publishes messages and fanout/internal/receiver receives them; on a Redis Cluster their way changes, and then nowhere else",
		find:   findPubSub,
	},
	{
		name:   "names in Redis in pkg/rediskeys",
		reason: "two packages that each spell a key or topic can mean different things by one, and none would take a deployment's prefix and database into account",
		find:   findSpelledNames,
	},
	{
		name:   "a connection's bytes apart from their meaning",
		reason: "package conn moves frames, whatever they say; what they mean is the session's, which conn knows as an interface",
		find: imports(func(f *file, p string) bool {
			return f.under(connDir) && within(p, module) && p != module+"/clients/go/protocol" && p != module+"/"+connDir+"/conntest"
		}),
	},
	{
		name:   "file length",
		reason: fmt.Sprintf("a file is one noun or verb; over %d lines it is several, and nobody reads it whole", maxFileLines),
		find: func(files []*file) []string {
			var found []string
			for _, f := range files {
				if f.isGo() && !f.isTest() && f.lines > maxFileLines {
					found = append(found, fmt.Sprintf("%s: %d lines; at most %d", f.path, f.lines, maxFileLines))
				}
			}
			return found
		},
	},
	{
		name:   "short mains",
		reason: "a main that only wires has nothing to test; what it would hold belongs in a package that tests can start",
		find:   findLongMains,
	},
}

const (
	maxFileLines      = 500
	maxFanoutLines    = 80
	maxBootstrapLines = 40
)

const connDir = "fanout/internal/conn"

// subjects are the directories that the rules speak of. If one is renamed, the
// rules about it would hold for ever without checking anything.
var subjects = []string{"clients/go/protocol", "clients/go/channel", "pkg/publish/send", "pkg/embedded", "pkg/rediskeys", "functions", "functions/internal/lambda", "fanout", "fanout/internal/door", connDir, "fanout/internal/members", "fanout/internal/receiver", "localdev", "cli", "console", "console/bundle", "examples", "clients/go", "clients/suite", "pkg/sink/targets", "pkg/sink/kafka"}

// violations runs every rule, and prefixes what it found with the rule's name.
func violations(files []*file) []string {
	var found []string
	for _, r := range rules {
		for _, v := range r.find(files) {
			found = append(found, fmt.Sprintf("%s: %s\n\twhy: %s", r.name, v, r.reason))
		}
	}
	return found
}

// imports makes a rule out of a predicate on one import of one file.
func imports(forbidden func(f *file, importPath string) bool) func([]*file) []string {
	return func(files []*file) []string {
		var found []string
		for _, f := range files {
			for _, p := range f.imports {
				if forbidden(f, p) {
					found = append(found, fmt.Sprintf("%s: imports %s", f.path, p))
				}
			}
		}
		return found
	}
}

// isContract tells whether a package is what the service shares with its clients.
func isContract(p string) bool {
	return p == module+"/clients/go/protocol" || p == module+"/clients/go/channel"
}

func isBootstrap(f *file) bool {
	return f.under("functions") && path.Base(f.dir) == "bootstrap"
}

// findNamesakes looks at the packages of this module that a file imports.
func findNamesakes(files []*file) []string {
	var found []string
	for _, f := range files {
		if f.isTest() || isBootstrap(f) {
			continue
		}
		byName := map[string]string{}
		for _, p := range f.imports {
			if !within(p, module) {
				continue
			}
			if other := byName[path.Base(p)]; other != "" {
				found = append(found, fmt.Sprintf("%s: imports %s and %s", f.path, other, p))
			}
			byName[path.Base(p)] = p
		}
	}
	return found
}

// findPackageDocs wants one doc comment for each directory, in a file that is no
// test where there is one, and "Package x …" for what others import.
func findPackageDocs(files []*file) []string {
	byDir := map[string][]*file{}
	for _, f := range files {
		if f.isGo() {
			byDir[f.dir] = append(byDir[f.dir], f)
		}
	}
	var found []string
	for _, dir := range slices.Sorted(maps.Keys(byDir)) {
		in := byDir[dir]
		if sources := slices.DeleteFunc(slices.Clone(in), (*file).isTest); len(sources) > 0 {
			in = sources
		}
		var documented []*file
		for _, f := range in {
			if f.doc != "" {
				documented = append(documented, f)
			}
		}
		switch {
		case len(documented) == 0:
			found = append(found, fmt.Sprintf("%s: no file has a package doc", dir))
		case len(documented) > 1:
			found = append(found, fmt.Sprintf("%s: both %s and %s have a package doc; one should",
				dir, path.Base(documented[0].path), path.Base(documented[1].path)))
		case documented[0].pkg != "main" && !strings.HasPrefix(documented[0].doc, "Package "+documented[0].pkg+" "):
			found = append(found, fmt.Sprintf("%s: the package doc should begin \"Package %s \"",
				documented[0].path, documented[0].pkg))
		}
	}
	return found
}

const goRedis = "github.com/redis/go-redis/v9"

// luaPubSub finds a publishing call in a Redis script.
var luaPubSub = regexp.MustCompile(`(?i)redis\.p?call\(\s*['"]s?publish['"]`)

// findPubSub goes by names, without types: the methods that only a Redis client
// has; Publish and Subscribe where go-redis is imported; and scripts.
// pkg/publish/send may only publish, and so may fanout/internal/members and pkg/registry: who is there and
// that it is announced must change in one step. So it is with a command and its
// delivery: the scripts of pkg/command publish, and it subscribes to what they say
// to processes that wait for an end, which carries no message; pkg/group does so about
// groups that have something again. pkg/redisconn knows what a
// Redis Cluster has in place of PUBLISH, and pkg/rediskeys where wildcards hear it.
func findPubSub(files []*file) []string {
	var found []string
	for _, f := range files {
		if f.under("fanout/internal/receiver") || f.isTest() {
			continue
		}
		publishes := f.under("pkg/publish/send", "fanout/internal/members", "pkg/command", "pkg/group", "pkg/registry", "pkg/redisconn", "pkg/rediskeys")
		if luaPubSub.MatchString(f.text) && !publishes {
			found = append(found, fmt.Sprintf("%s: publishes", f.path))
		}
		if !f.isGo() {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			method, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch name := method.Sel.Name; name {
			case "PSubscribe", "SSubscribe", "SPublish":
				if f.dir == "pkg/redisconn" {
					break // it knows what a Redis Cluster has in place of PUBLISH
				}
				found = append(found, fmt.Sprintf("%s: calls %s", f.path, name))
			case "Publish", "Subscribe":
				allowed := publishes && name == "Publish" || f.under("pkg/command", "pkg/group")
				if slices.Contains(f.imports, goRedis) && !allowed {
					found = append(found, fmt.Sprintf("%s: calls %s and imports go-redis", f.path, name))
				}
			}
			return true
		})
	}
	return found
}

// redisName finds what a key or topic of ours begins with, in quotes of any kind.
var redisName = regexp.MustCompile("[\"'`]fw:")

// findSpelledNames looks at Go's string literals and at scripts.
func findSpelledNames(files []*file) []string {
	var found []string
	for _, f := range files {
		if f.under("pkg/rediskeys") || f.isTestCode() {
			continue
		}
		spelled := redisName.FindString(f.text) != ""
		if f.isGo() {
			ast.Inspect(f.ast, func(n ast.Node) bool {
				if s, ok := n.(*ast.BasicLit); ok {
					spelled = spelled || redisName.FindString(s.Value) != ""
				}
				return true
			})
		}
		if spelled {
			found = append(found, fmt.Sprintf("%s: spells a name that begins with fw:", f.path))
		}
	}
	return found
}

// findLongMains counts a main package whole: a second file would be no remedy.
func findLongMains(files []*file) []string {
	lines := map[string]int{}
	limits := map[string]int{}
	for _, f := range files {
		if !f.isGo() || f.isTest() || f.pkg != "main" {
			continue
		}
		switch {
		case f.dir == "fanout":
			limits[f.dir] = maxFanoutLines
		case isBootstrap(f):
			limits[f.dir] = maxBootstrapLines
		default:
			continue
		}
		lines[f.dir] += f.lines
	}
	var found []string
	for _, dir := range slices.Sorted(maps.Keys(lines)) {
		if lines[dir] > limits[dir] {
			found = append(found, fmt.Sprintf("%s: its main is %d lines; at most %d", dir, lines[dir], limits[dir]))
		}
	}
	return found
}
