package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"fleetwire/pkg/redisconn/redistest"
)

const (
	dashboardFile = "../deploy/grafana/fleetwire.json"
	alertsFile    = "../deploy/prometheus/alerts.yaml"
)

// dashboard is what tests look at of a dashboard.
type dashboard struct {
	UID        *string
	ID         *int
	Templating struct {
		List []struct{ Name, Type, Query any }
	}
	Panels []panel
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ H, W, X, Y int }
	Datasource  *struct{ UID string }
	Targets     []struct {
		RefID, Expr, LegendFormat string
		Datasource                struct{ UID string }
	}
}

type alertRules struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr         string
			Labels, Annotations map[string]string
		}
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	b, err := os.ReadFile(dashboardFile)
	if err == nil {
		err = json.Unmarshal(b, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func readAlerts(t *testing.T) (rules alertRules) {
	t.Helper()
	b, err := os.ReadFile(alertsFile)
	if err == nil {
		err = yaml.Unmarshal(b, &rules)
	}
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// The dashboard can be imported into any Grafana: it names no datasource and no dashboard of
// another one, and its panels do not lie on each other.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if d.UID != nil || d.ID != nil {
		t.Error("it has a uid or an id, which another dashboard may have")
	}
	variables := map[any]any{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
	}
	if variables["datasource"] != "datasource" || variables["instance"] != "query" {
		t.Errorf("its variables are %v", variables)
	}
	const source = "${datasource}"
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %q has the id %d, which is none or another's", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q, or beside the dashboard", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource == nil || p.Datasource.UID != source || len(p.Targets) == 0 {
			t.Errorf("panel %q asks no datasource of the reader's choice", p.Title)
		}
		refs := map[string]bool{}
		for _, target := range p.Targets {
			if refs[target.RefID] || target.RefID == "" || target.Expr == "" || target.LegendFormat == "" || target.Datasource.UID != source {
				t.Errorf("panel %q has the target %+v", p.Title, target)
			}
			refs[target.RefID] = true
		}
	}
	if len(d.Panels) < 30 {
		t.Errorf("it has %d panels", len(d.Panels))
	}
}

// asked is a query, where it stands, and the labels of which its legend, or its text, speaks.
type asked struct {
	where, query string
	shown        []string
}

var shownLabel = regexp.MustCompile(`\{\{ *(?:\$labels\.)?([a-z_]+) *\}\}`)

func queries(t *testing.T) (all []asked) {
	t.Helper()
	add := func(where, query, text string) {
		a := asked{where: where, query: strings.ReplaceAll(query, "$__rate_interval", "5m")}
		for _, m := range shownLabel.FindAllStringSubmatch(text, -1) {
			a.shown = append(a.shown, m[1])
		}
		all = append(all, a)
	}
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			add("panel "+p.Title, target.Expr, target.LegendFormat)
		}
	}
	for _, g := range readAlerts(t).Groups {
		for _, r := range g.Rules {
			add("alert "+r.Alert, r.Expr, r.Annotations["summary"])
		}
	}
	return all
}

// parsed is what scripts/promql says of a query.
type parsed struct {
	Error     string
	Selectors []struct {
		Name    string
		Labels  map[string]string
		Grouped []string
	}
}

// parse has Prometheus's own parser read queries.
func parse(t *testing.T, all []asked) (found []parsed) {
	t.Helper()
	texts := make([]string, len(all))
	for i := range all {
		texts[i] = all[i].query
	}
	in, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	const folder = "../scripts/promql"
	if out, err := exec.Command("go", "-C", folder, "mod", "download").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: needs Prometheus's parser, a Go module that is not here and cannot be fetched; to get it: go -C scripts/promql mod download\n%s", out)
	}
	parser := exec.Command("go", "-C", folder, "run", ".")
	parser.Stdin, parser.Stderr = bytes.NewReader(in), os.Stderr
	out, err := parser.Output()
	if err == nil {
		err = json.Unmarshal(out, &found)
	}
	if err != nil || len(found) != len(all) {
		t.Fatalf("scripts/promql: %v", err)
	}
	return found
}

// exported are the labels of each metric that nodes have shown.
type exported map[string]map[string]bool

var (
	sampleLine = regexp.MustCompile(`(?m)^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+$`)
	labelName  = regexp.MustCompile(`([a-z_]+)="`)
)

func (e exported) read(metrics string) {
	for _, m := range sampleLine.FindAllStringSubmatch(metrics, -1) {
		if e[m[1]] == nil {
			e[m[1]] = map[string]bool{}
		}
		for _, l := range labelName.FindAllStringSubmatch(m[2], -1) {
			e[m[1]][l[1]] = true
		}
	}
}

// Every query of the dashboard and of the alerts asks for a metric, by labels, that a node shows
// once it was used; and each value that is asked for is one that the documents know.
func TestQueriesNameWhatNodesShow(t *testing.T) {
	all := queries(t)
	said := parse(t, all)
	wanted := map[string]bool{}
	for i, a := range all {
		if said[i].Error != "" {
			t.Fatalf("%s: %s\n%s", a.where, said[i].Error, a.query)
		}
		for _, s := range said[i].Selectors {
			wanted[s.Name] = true
		}
	}
	delete(wanted, "up") // is Prometheus's own
	if len(wanted) < 40 {
		t.Fatalf("the queries ask for %d metrics", len(wanted))
	}
	shown := useEverything(t, wanted)
	shown["up"] = map[string]bool{}
	values := documentedValues(t)
	for i, a := range all {
		for _, s := range said[i].Selectors {
			has := maps.Clone(shown[s.Name])
			has["instance"], has["job"] = true, true // by which Prometheus knows the node
			asks := append(slices.Collect(maps.Keys(s.Labels)), s.Grouped...)
			for _, l := range append(asks, a.shown...) {
				if !has[l] {
					t.Errorf("%s asks %s for the label %s; it has %v", a.where, s.Name, l, slices.Sorted(maps.Keys(has)))
				}
			}
			for l, value := range s.Labels {
				for one := range strings.SplitSeq(value, "|") {
					if plain := regexp.MustCompile(`^[a-z_]+$|^[0-9]{4}$`).MatchString(one); plain && !values[one] {
						t.Errorf("%s asks %s for %s=%q, of which the documents say nothing", a.where, s.Name, l, one)
					}
				}
			}
		}
	}
}

// documentedValues are words that docs/operations.md and docs/protocol.md show as code, and close
// codes.
func documentedValues(t *testing.T) map[string]bool {
	t.Helper()
	values := map[string]bool{}
	for _, file := range []string{"../docs/operations.md", "../docs/protocol.md"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile("`([a-z_]+|[0-9]{4})`|\\b([14][0-9]{3})\\b").FindAllSubmatch(b, -1) {
			values[string(m[1])+string(m[2])] = true
		}
	}
	return values
}

// useEverything has a node do once what nodes do, until it shows all wanted metrics.
func useEverything(t *testing.T, wanted map[string]bool) exported {
	t.Helper()
	hook := receive(t)
	key := newKey("monitored", "**", "_system/**")
	app := webhook(hook.URL, 10, key)
	app.GraceMs = 1
	app.History = []ruleDoc{{"log/**", 1, 3600}}
	app.Groups = append(app.Groups, groupDoc{Name: "small", Patterns: []string{"small"}, MaxBytes: 1 << 20, Overflow: "drop_oldest"})
	s := newSystem(t, app)
	// A cluster, for its masters.
	n := s.start(redistest.SharedCluster(t).URL(), options{sinkNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})

	to, from := n.connect(t, key.token("to", nil)).subscribe("devices/1/events"), n.connect(t, key.token("from", nil))
	for range 64 { // one of which is measured
		from.publish("devices/1/events", `1`)
		to.expectMessage("devices/1/events", "from", `1`)
	}
	for range 3 {
		n.publish(t, key, "log/a", `1`)
	}
	from.setWill("")
	if err := from.conn.Close(); err != nil {
		t.Fatal(err)
	}
	n.refused(t, "token=nonsense", 4001)
	sent, err := n.call("POST", "/v1/channels/devices%2F2/commands", key.credential(), `{"data":1,"ttlMs":60000,"waitMs":0}`)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := n.call("DELETE", "/v1/commands/"+sent.command(t, 202).ID, key.credential(), ""); err != nil || a.status != 200 {
		t.Fatalf("%d %s (%v)", a.status, a.body, err)
	}
	large := quoted(strings.Repeat("x", 60<<10))
	for range 20 {
		to.publish("small", large)
	}
	// What a sink does not take counts, too.
	hook.got(64)
	hook.answers(500)
	to.publish("devices/1/events", `2`)

	shown := exported{}
	missing := func() (names []string) {
		shown.read(n.metrics(t))
		for name := range wanted {
			if shown[name] == nil {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	defer func() {
		if t.Failed() {
			t.Logf("no node shows %q", missing())
		}
	}()
	eventually(t, "every metric that queries ask for", patience, func() bool { return len(missing()) == 0 })
	return shown
}

// Each alert says what is the matter and how bad it is, and points to a section of the documents
// which says what to do and names it.
func TestAlertsHaveARunbook(t *testing.T) {
	b, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for section := range strings.SplitSeq(string(b), "\n#") {
		title, text, _ := strings.Cut(strings.TrimLeft(section, "# "), "\n")
		sections[strings.ReplaceAll(strings.ToLower(title), " ", "-")] = text
	}
	severities := []string{"critical", "warning", "info"}
	seen := map[string]bool{}
	for _, g := range readAlerts(t).Groups {
		for _, r := range g.Rules {
			if seen[r.Alert] || !strings.HasPrefix(r.Alert, "Fleetwire") {
				t.Errorf("the name %s is another's, too, or may be", r.Alert)
			}
			seen[r.Alert] = true
			if r.Annotations["summary"] == "" || !slices.Contains(severities, r.Labels["severity"]) {
				t.Errorf("%s has the labels %v and the annotations %v", r.Alert, r.Labels, r.Annotations)
			}
			section, ok := strings.CutPrefix(r.Annotations["runbook"], "docs/operations.md#")
			if text := sections[section]; !ok || !strings.Contains(text, "`"+r.Alert+"`") {
				t.Errorf("%s: %q is no section of docs/operations.md that names it", r.Alert, r.Annotations["runbook"])
			}
		}
	}
	for _, m := range regexp.MustCompile("`(Fleetwire[A-Z][A-Za-z]+)`").FindAllSubmatch(b, -1) {
		if name := string(m[1]); !seen[name] {
			t.Errorf("docs/operations.md speaks of the alert %s, which is none", name)
		}
	}
	if len(seen) < 20 {
		t.Errorf("there are %d alerts", len(seen))
	}
}

// Alerts fire when they should, and not before: deploy/prometheus/alerts_test.yaml.
func TestAlerts(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: no promtool; to get it: scripts/install-test-deps, or apt-get install prometheus, or brew install prometheus")
	}
	const tests = "../deploy/prometheus/alerts_test.yaml"
	for _, args := range [][]string{{"check", "rules", alertsFile}, {"test", "rules", tests}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	b, err := os.ReadFile(tests)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range readAlerts(t).Groups {
		for _, r := range g.Rules {
			// At least once when it fires, and once when it does not.
			if n := bytes.Count(b, fmt.Appendf(nil, "alertname: %s\n", r.Alert)); n < 2 {
				t.Errorf("%s is looked at %d times", r.Alert, n)
			}
		}
	}
}
