package rediskeys

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// catalogue is every key: as operations.md has it, and built from an app, a name
// and a second name.
var catalogue = []struct {
	method string
	doc    string
	build  func(n Namespace, app, name, second string) string
}{
	{"MessageCount", "fw:{app}:messages:PERIOD", func(n Namespace, app, name, _ string) string { return n.MessageCount(app, name) }},
	{"Sent", "fw:{app}:sent:ID", func(n Namespace, app, name, _ string) string { return n.Sent(app, name) }},
	{"Connections", "fw:{app}:connections", func(n Namespace, app, _, _ string) string { return n.Connections(app) }},
	{"ConnectionLeases", "fw:{app}:connections:leases", func(n Namespace, app, _, _ string) string { return n.ConnectionLeases(app) }},
	{"Peak", "fw:{app}:peak:PERIOD", func(n Namespace, app, name, _ string) string { return n.Peak(app, name) }},
	{"RESTRate", "fw:{app}:rest:KEY", func(n Namespace, app, name, _ string) string { return n.RESTRate(app, name) }},
	{"ConnectRate", "fw:{app}:connects:ADDRESS", func(n Namespace, app, name, _ string) string { return n.ConnectRate(app, name) }},
	{"Revoked", "fw:{app}:revoked", func(n Namespace, app, _, _ string) string { return n.Revoked(app) }},
	{"RevokedSince", "fw:{app}:revoked:since", func(n Namespace, app, _, _ string) string { return n.RevokedSince(app) }},
	{"SignedOut", "fw:{app}:signed-out", func(n Namespace, app, _, _ string) string { return n.SignedOut(app) }},
	{"TokenLife", "fw:{app}:token-life", func(n Namespace, app, _, _ string) string { return n.TokenLife(app) }},
	{"Usage", "fw:{app}:usage:PERIOD:RANKING", func(n Namespace, app, name, second string) string { return n.Usage(app, name, second) }},
	{"UsageBytes", "fw:{app}:usage:PERIOD:RANKING:bytes", func(n Namespace, app, name, second string) string { return n.UsageBytes(app, name, second) }},
	{"UsageOther", "fw:{app}:usage:PERIOD:RANKING:other", func(n Namespace, app, name, second string) string { return n.UsageOther(app, name, second) }},
	{"UsageFlushed", "fw:{app}:usage:PERIOD:flushed:ID", func(n Namespace, app, name, second string) string { return n.UsageFlushed(app, name, second) }},
	{"Answers", "fw:{app.TAG}:closed:ID", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).Answers(second) }},
	{"Subscribers", "fw:{app.TAG}:subscribers:NODE", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).Subscribers(second) }},
	{"SubscriberNodes", "fw:{app.TAG}:nodes", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).SubscriberNodes() }},
	{"Members", "fw:{app.TAG}:presence:CHANNEL", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).Members(name) }},
	{"MemberIndex", "fw:{app.TAG}:presence-index:CHANNEL", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).MemberIndex(name) }},
	{"LastJoined", "fw:{app.TAG}:presence-last:CHANNEL", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).LastJoined(name) }},
	{"Joined", "fw:{app.TAG}:presence-of:ID", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).Joined(second) }},
	{"Peers", "fw:{app.TAG}:peers", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).Peers() }},
	{"PeerIndex", "fw:{app.TAG}:peers-index", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).PeerIndex() }},
	{"PeersOnline", "fw:{app.TAG}:peers-online", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).PeersOnline() }},
	{"Wills", "fw:{app.TAG}:wills", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).Wills() }},
	{"Due", "fw:{app.TAG}:due:KIND", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).Due(second) }},
	{"DueIndex", "fw:due:{index}", func(n Namespace, _, _, _ string) string { return n.DueIndex() }},
	{"DueTouched", "fw:due:{index}:touched", func(n Namespace, _, _, _ string) string { return n.DueTouched() }},
	{"DueTurns", "fw:due:{index}:turns", func(n Namespace, _, _, _ string) string { return n.DueTurns() }},
	{"Command", "fw:{app.TAG}:command:ID", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).Command(second) }},
	{"CommandPeers", "fw:{app.TAG}:command-peers:ID", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).CommandPeers(second) }},
	{"CommandDue", "fw:{app.TAG}:command-due:ID", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).CommandDue(second) }},
	{"CommandQueue", "fw:{app.TAG}:command-queue:CHANNEL", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).CommandQueue(name) }},
	{"Commands", "fw:{app.TAG}:commands:CHANNEL", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).Commands(name) }},
	{"CommandsHeld", "fw:{app.TAG}:commands-held:ID", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).CommandsHeld(second) }},
	{"CommandsOf", "fw:{app.TAG}:commands-of:PEER", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).CommandsOf(second) }},
	{"Last", "fw:{app.TAG}:last:CHANNEL", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).Last(name) }},
	{"History", "fw:{app.TAG}:history:CHANNEL", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).History(name) }},
	{"HistoryIndex", "fw:{app.TAG}:history-index", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).HistoryIndex() }},
	{"HistoryBytes", "fw:{app.TAG}:history-bytes", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).HistoryBytes() }},
	{"GroupBytes", "fw:{app}:group:GROUP", func(n Namespace, app, name, _ string) string { return n.GroupBytes(app, name) }},
	{"Sink", "fw:{app}:sink:GROUP", func(n Namespace, app, name, _ string) string { return n.Sink(app, name) }},
	{"Group", "fw:{app.TAG}:group:GROUP", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).Group(second) }},
	{"GroupLeases", "fw:{app.TAG}:group-leases:GROUP", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).GroupLeases(second) }},
	{"GroupDelayed", "fw:{app.TAG}:group-delayed:GROUP", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).GroupDelayed(second) }},
	{"GroupState", "fw:{app.TAG}:group-state:GROUP", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).GroupState(second) }},
	{"GroupDead", "fw:{app.TAG}:group-dead:GROUP", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).GroupDead(second) }},
	{"IdempotencyIndex", "fw:{app.TAG}:idempotency-index", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).IdempotencyIndex() }},
	{"Idempotency", "fw:{app.TAG}:idempotency:ID", func(n Namespace, app, name, second string) string { return n.Bucket(app, name).Idempotency(second) }},
	{"Wildcards", "fw:{app.TAG}:wildcards:msg", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).Wildcards(Messages) }},
	{"Wildcards", "fw:{app.TAG}:wildcards:presence", func(n Namespace, app, name, _ string) string { return n.Bucket(app, name).Wildcards(Presence) }},
	{"EndedCommands", "fw:{app}:commands-ended", func(n Namespace, app, _, _ string) string { return n.EndedCommands(app) }},
	{"EndedCommandBytes", "fw:{app}:commands-ended:bytes", func(n Namespace, app, _, _ string) string { return n.EndedCommandBytes(app) }},
	{"HistoryRules", "fw:{app}:history-rules", func(n Namespace, app, _, _ string) string { return n.HistoryRules(app) }},
	{"Leases", "fw:presence:{leases}", func(n Namespace, _, _, _ string) string { return n.Leases() }},
	{"DeadLeases", "fw:presence:{leases}:dead", func(n Namespace, _, _, _ string) string { return n.DeadLeases() }},
	{"LeaseBuckets", "fw:presence:{leases}:buckets:ID", func(n Namespace, _, name, _ string) string { return n.LeaseBuckets(name) }},
	{"Nodes", "fw:nodes", func(n Namespace, _, _, _ string) string { return n.Nodes() }},
	{"Survey", "fw:survey", func(n Namespace, _, _, _ string) string { return n.Survey() }},
	{"Inbox", "fw:inbox:NODE", func(n Namespace, _, name, _ string) string { return n.Inbox(name) }},
	{"Epoch", "fw:epoch", func(n Namespace, _, _, _ string) string { return n.Epoch() }},
	{"EpochIn", "fw:epoch:{N}", func(n Namespace, _, _, _ string) string { return n.EpochIn(probeSlot) }},
	{"Probe", "fw:probe:NODE", func(n Namespace, _, name, _ string) string { return n.Probe(name) }},
	{"ProbeIn", "fw:probe:{N}NODE", func(n Namespace, _, name, _ string) string { return n.ProbeIn(probeSlot, name) }},
}

// probeSlot is the slot that the test's probe is in.
const probeSlot = 7

// placeholders are what stands in capitals in a documented name, and what may
// stand there.
var placeholders = map[string]string{
	"{app}": `\{[A-Za-z0-9_-]+\}`, "{app.TAG}": `\{[A-Za-z0-9_-]+\.[0-9]{3}\}`, "{leases}": `\{leases\}`, "{index}": `\{index\}`, "{N}": `\{[0-9]+\}`,
	"PERIOD": `[0-9]{4}-[0-9]{2}`, "RANKING": `(channels|peers)`, "KIND": `[0-9a-z]+`, "KEY": `[!-9;-~]+`, "ADDRESS": `.+`, "GROUP": `[0-9A-Za-z_-]+`, "ID": `[0-9A-Za-z]+`, "NODE": `[0-9a-z-]+`, "PEER": `(?s).+`, "CHANNEL": `(?s).+`,
}

var placeholder = regexp.MustCompile(`\{[^}]*\}|[A-Z]+`)

// forms are the regular expressions of the documented names.
var forms = func() map[string]*regexp.Regexp {
	forms := map[string]*regexp.Regexp{}
	for _, key := range catalogue {
		forms[key.doc] = form(key.doc)
	}
	return forms
}()

func form(doc string) *regexp.Regexp {
	return regexp.MustCompile("^" + placeholder.ReplaceAllStringFunc(doc, func(p string) string {
		if form, ok := placeholders[p]; ok {
			return form
		}
		panic("no placeholder: " + p)
	}) + "$")
}

func TestCatalogueIsWhole(t *testing.T) {
	var methods []string
	for _, of := range []reflect.Type{reflect.TypeFor[Namespace](), reflect.TypeFor[Bucket]()} {
		for i := range of.NumMethod() {
			m := of.Method(i)
			if m.Type.NumOut() == 1 && m.Type.Out(0).Kind() == reflect.String && m.Type.Out(0) == reflect.TypeFor[string]() {
				methods = append(methods, m.Name)
			}
		}
	}
	listed := []string{"Prefix", "Topic", "TopicsIn", "Glob", "ProbeTopic", "ProbeTopicIn", "AllTopic", "WakeTopic", "GroupTopic", "Tag"}
	for _, key := range catalogue {
		listed = append(listed, key.method)
	}
	slices.Sort(methods)
	slices.Sort(listed)
	listed = slices.Compact(listed)
	if !slices.Equal(methods, listed) {
		t.Errorf("there are %q, and the tests know %q", methods, listed)
	}
}

// The table of docs/operations.md has every key and no other, and its text every topic.
func TestOperationsGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## What is in Redis\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for line := range strings.Lines(section) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
				documented = append(documented, m[1])
			}
		}
	}
	var want []string
	for _, key := range catalogue {
		want = append(want, key.doc)
	}
	for kind := range kinds {
		name := "CHANNEL"
		if kind == Peer {
			name = "PEER"
		}
		topic := (Namespace{}).Topic(kind, "app", name)
		want = append(want, strings.NewReplacer("fw:0:", "fw:DB:", TagOf(name), "TAG").Replace(topic))
	}
	inBucket := strings.NewReplacer("fw:0:", "fw:DB:", TagOf("CHANNEL"), "TAG", braced(probeSlot), "{N}")
	bucket := (Namespace{}).Bucket("app", "CHANNEL")
	for _, topic := range []string{
		(Namespace{}).AllTopic(bucket, Messages), (Namespace{}).AllTopic(bucket, Presence),
		(Namespace{}).ProbeTopic("NODE"), (Namespace{}).ProbeTopicIn(probeSlot, "NODE"),
		(Namespace{}).WakeTopic(bucket, "PROCESS"), (Namespace{}).GroupTopic("app", "GROUP"),
	} {
		want = append(want, inBucket.Replace(topic))
	}
	slices.Sort(documented)
	slices.Sort(want)
	if !slices.Equal(documented, want) {
		t.Errorf("the guide's table has %q,\nwant %q", documented, want)
	}
}

// What the guide says is what is built.
func TestKeysAreAsDocumented(t *testing.T) {
	for _, key := range catalogue {
		name := regexp.MustCompile("[A-Z]{2,}").FindAllString(strings.ReplaceAll(key.doc, "TAG", ""), -1)
		name = append(name, "", "")
		first, second := name[0], name[1]
		if strings.Contains(key.doc, "TAG") && first != "CHANNEL" {
			first, second = "c", first
		}
		got := key.build(Namespace{}, "app", first, second)
		if got := strings.NewReplacer("{app."+TagOf(first)+"}", "{app.TAG}", braced(probeSlot), "{N}", epochTags()[0], "{N}").Replace(got); got != key.doc {
			t.Errorf("%s built %s, want %s", key.method, got, key.doc)
		}
	}
}

// Each key can be read in one way only: as its own form says, and no other's.
func TestKeysAreTold(t *testing.T) {
	for i := range catalogue {
		for _, app := range []string{"app", "a-b", "A_9", "messages", "presence"} {
			for _, name := range hostileNames {
				keyIsTold(t, i, app, name, "2f")
			}
		}
	}
}

func keyIsTold(t *testing.T, which int, app, name, second string) {
	t.Helper()
	key := catalogue[which]
	if key.method == "LeaseBuckets" || key.method == "Sent" {
		name = second
	} else if !strings.Contains(key.doc, "TAG") {
		name, second = "2026-11", "channels"
	}
	built := key.build(Namespace{}, app, name, second)
	for _, other := range catalogue {
		if forms[other.doc].MatchString(built) != (other.doc == key.doc) {
			t.Errorf("%s built %q, which is of the form %s: %v", key.method, built, other.doc, other.doc != key.doc)
		}
	}
	// A cluster takes what is in the first braces for the slot.
	if _, rest, ok := strings.Cut(built, "{"); ok {
		tag, _, _ := strings.Cut(rest, "}")
		if key.method == "EpochIn" {
			if Slot(built) >= slotsPerEpoch {
				t.Errorf("%s built %q, whose slot is %d, not below %d", key.method, built, Slot(built), slotsPerEpoch)
			}
		} else if key.method == "ProbeIn" {
			if Slot(built) != probeSlot {
				t.Errorf("%s built %q, whose slot is %d, not %d", key.method, built, Slot(built), probeSlot)
			}
		} else if tag != app && tag != "leases" && tag != "index" && tag != app+"."+TagOf(name) {
			t.Errorf("%s built %q, whose slot is that of %q", key.method, built, tag)
		}
	}
}

func FuzzKeys(f *testing.F) {
	for i := range catalogue {
		f.Add(byte(i), "app", hostileNames[i%len(hostileNames)], "k")
	}
	f.Fuzz(func(t *testing.T, which byte, app, name, second string) {
		if !isAppID(app) || name == "" || !regexp.MustCompile(`^[0-9a-z]+$`).MatchString(second) {
			return
		}
		keyIsTold(t, int(which)%len(catalogue), app, name, second)
	})
}

// A key id holds what a client may not choose, but nobody forbids: braces, and dots.
func TestKeyIDsAreTold(t *testing.T) {
	for _, id := range []string{"sk_live", "}rest", "{app}", "a}.b", "bytes"} {
		key := (Namespace{}).RESTRate("app", id)
		for _, other := range catalogue {
			if forms[other.doc].MatchString(key) != (other.method == "RESTRate") {
				t.Errorf("%q is of the form %s", key, other.doc)
			}
		}
	}
}

// Buckets are those that names lie in, each once.
func TestBuckets(t *testing.T) {
	var n Namespace
	all := slices.Collect(n.Buckets("app"))
	for i := range 5000 {
		if b := n.Bucket("app", fmt.Sprint("name", i)); !slices.Contains(all, b) {
			t.Fatalf("%s is not among them", b)
		}
	}
	slices.Sort(all)
	if got := len(slices.Compact(all)); got != BucketsPerApp {
		t.Errorf("%d, want %d", got, BucketsPerApp)
	}
}

func TestParseBucket(t *testing.T) {
	var n Namespace
	for _, app := range []string{"app", "app_demo", "a-b"} {
		for _, name := range hostileNames {
			b := n.Bucket(app, name)
			if got, gotApp, err := n.ParseBucket(string(b)); err != nil || got != b || gotApp != app {
				t.Errorf("%s comes back as %s of %q, %v", b, got, gotApp, err)
			}
		}
	}
	tag := TagOf("c")
	if b, ok := n.BucketOf("app", n.Bucket("app", "c").Tag()); !ok || b != n.Bucket("app", "c") {
		t.Errorf("the bucket with the tag of c is %s, %v", b, ok)
	}
	for _, tag := range []string{"", "0", "0000", "1e1", "-01", "..."} {
		if b, ok := n.BucketOf("app", tag); ok {
			t.Errorf("%s has the tag %q", b, tag)
		}
	}
	for _, foreign := range []string{"", "fw:{app}:", "app." + tag, "{app." + tag + "}:", "fw:{app.1}:", "fw:{app.999}:", "fw:{." + tag + "}:", "fw:{app." + tag + "}", "fw:{app." + tag + "}:x", "x:{app." + tag + "}:"} {
		if _, app, err := n.ParseBucket(foreign); err == nil {
			t.Errorf("%q is of the app %q", foreign, app)
		}
	}
}

// There is a probe for every slot, so that every master can be probed.
func TestEverySlotHasAProbe(t *testing.T) {
	var n Namespace
	for slot := 0; slot < Slots; slot += 381 { // and the last
		if got := Slot(n.ProbeIn(slot, "node")); got != slot {
			t.Errorf("the key for slot %d is in %d", slot, got)
		}
		if got := Slot(n.ProbeTopicIn(slot, "node")); got != slot {
			t.Errorf("the topic for slot %d is in %d", slot, got)
		}
	}
}

// The rate of connects that name no app is no app's.
func TestConnectsWithoutApp(t *testing.T) {
	if got := (Namespace{}).ConnectRate("", "192.0.2.7"); got != "fw:{.}:connects:192.0.2.7" || isAppID(".") {
		t.Errorf("the key is %q", got)
	}
}

// Each of a cluster's epochs is that of the slots around it.
func TestEpochOfEverySlot(t *testing.T) {
	var n Namespace
	all := map[string]bool{}
	for slot := range Slots {
		key := n.EpochIn(slot)
		if Slot(key)/slotsPerEpoch != slot/slotsPerEpoch {
			t.Fatalf("%s, for slot %d, is in slot %d", key, slot, Slot(key))
		}
		all[key] = true
	}
	if len(all) != Epochs {
		t.Errorf("%d epochs, want %d", len(all), Epochs)
	}
}
