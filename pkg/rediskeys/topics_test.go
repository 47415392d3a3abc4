package rediskeys

import (
	"strings"
	"testing"
)

// hostileNames are names of channels or peers that look like parts of a topic.
var hostileNames = []string{
	"c", "devices/camera-001/commands", "}", "{", "}:", "}:msg:devices/y", "x}:msg:devices/y", "a}:peer:b", "}:peer:*", "a*", "?", "[a-z]",
	"fw:0:msg:{app.021}:y", "{app.021}:y", ".021}:y", "021}:y", ":", "::", ".", " ", "é", `\`, strings.Repeat("}", 256),
}

func TestTopicRoundTrip(t *testing.T) {
	for kind := range kinds {
		for _, app := range []string{"a", "a-b", "A_9", "msg", "0"} {
			for _, name := range hostileNames {
				topic := (Namespace{}).Topic(kind, app, name)
				gotKind, gotApp, gotName, ok := (Namespace{}).ParseTopic(topic)
				if !ok || gotKind != kind || gotApp != app || gotName != name {
					t.Errorf("%s comes back as kind %d, %q of %q (%v)", topic, gotKind, gotName, gotApp, ok)
				}
			}
		}
	}
}

func TestForeignTopics(t *testing.T) {
	tag := TagOf("c")
	if _, _, _, ok := (Namespace{}).ParseTopic("fw:0:msg:{a." + tag + "}:c"); !ok {
		t.Fatal("the topic that the others are made from is foreign")
	}
	for _, foreign := range []string{
		"", "fw", "fw:", "fw:0", "fw:0:", "fw:0:msg", "fw:0:msg:", "fw:0:msg:{", "fw:0:msg:{a." + tag + "}", "fw:0:msg:{a." + tag + "}:",
		"fw:0:msg:{." + tag + "}:c", "fw:0:msg:{a}:c", "fw:0:msg:{a.}:c", "fw:0:msg:{a.1}:c", "fw:0:msg:{a.x" + tag + "}:c", "fw:0:msg:{a.b." + tag + "}:c",
		"fw:0:msg:{a." + TagOf("d") + "}:c", "fw:0:msg:{a b." + tag + "}:c", "fw:0:msg:{a}." + tag + "}:c", "fw:0:msg:a." + tag + "}:c",
		"fw:0:MSG:{a." + tag + "}:c", "fw:0:else:{a." + tag + "}:c", "fw:0::{a." + tag + "}:c", "fw:00:msg:{a." + tag + "}:c", "fw:1:msg:{a." + tag + "}:c",
		"xfw:0:msg:{a." + tag + "}:c", "fw:msg:{a." + tag + "}:c", "fw:{a." + tag + "}:msg:c",
	} {
		if _, app, name, ok := (Namespace{}).ParseTopic(foreign); ok {
			t.Errorf("%q was read as %q of %q", foreign, name, app)
		}
	}
}

// A glob takes in the topics of its own kind and app, and no others, whatever is
// in a name. It is what a wildcard costs Redis, and what PUBLISH counts by.
func TestGlobsKeepToTheirKind(t *testing.T) {
	for kind := range kinds {
		for _, app := range []string{"app", "app-2", "pp"} {
			all := (Namespace{}).Glob(kind, app, "*")
			prefixed := (Namespace{}).Glob(kind, app, "devices/*")
			for otherKind := range kinds {
				for _, otherApp := range []string{"app", "app-2", "pp"} {
					for _, name := range append(hostileNames, "devices/y") {
						topic := (Namespace{}).Topic(otherKind, otherApp, name)
						same := kind == otherKind && app == otherApp
						if match(all, topic) != same {
							t.Errorf("%s matches %s: %v", all, topic, !same)
						}
						if want := same && strings.HasPrefix(name, "devices/"); match(prefixed, topic) != want {
							t.Errorf("%s matches %s: %v", prefixed, topic, !want)
						}
					}
				}
			}
		}
	}
}

// match is Redis's matching of ? and of a * at the end.
func match(glob, s string) bool {
	for i := range len(glob) {
		switch {
		case glob[i] == '*':
			return true
		case i >= len(s) || glob[i] != '?' && glob[i] != s[i]:
			return false
		}
	}
	return len(glob) == len(s)
}

func TestTopicsIn(t *testing.T) {
	n, err := New("site-a", 12)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range hostileNames {
		if got, want := n.TopicsIn(n.Bucket("app", name), Presence)+name, n.Topic(Presence, "app", name); got != want {
			t.Errorf("%q in its bucket, %q by itself", got, want)
		}
	}
}

// A message on the topic of all channels of a bucket is told by the name before it.
func TestAllTopics(t *testing.T) {
	for _, kind := range []Kind{Messages, Presence} {
		for _, name := range hostileNames {
			var n Namespace
			all := n.AllTopic(n.Bucket("app", name), kind)
			for _, message := range []string{"", "m", "two\nlines", "\n"} {
				gotKind, app, gotName, got, ok := n.ParseAllTopic(all, name+"\n"+message)
				if !ok || gotKind != kind || app != "app" || gotName != name || got != message {
					t.Errorf("%q of %q comes back as kind %d, %q of %q in %q, %v", message, name, gotKind, got, gotName, app, ok)
				}
			}
			if _, _, _, ok := n.ParseTopic(all); ok {
				t.Errorf("%s is taken for the topic of a channel", all)
			}
			if _, _, _, _, ok := n.ParseAllTopic(n.Topic(kind, "app", name), name+"\nm"); ok {
				t.Errorf("the topic of %q is taken for that of all channels", name)
			}
			for _, foreign := range []string{"", "m", name, "\nm", "another name\nm"} {
				if _, _, name, _, ok := n.ParseAllTopic(all, foreign); ok && n.AllTopic(n.Bucket("app", name), kind) != all {
					t.Errorf("%q on %s is of %q", foreign, all, name)
				}
			}
		}
	}
}

// What travels is read without an allocation, and named with one.
func TestTopicAllocates(t *testing.T) {
	var n Namespace
	topic := n.Topic(Messages, "app_a", "devices/camera-001/events")
	if got := testing.AllocsPerRun(100, func() { n.Topic(Messages, "app_a", "devices/camera-001/events") }); got > 1 {
		t.Errorf("Topic allocates %v times, want once", got)
	}
	if got := testing.AllocsPerRun(100, func() { n.ParseTopic(topic) }); got > 0 {
		t.Errorf("ParseTopic allocates %v times", got)
	}
}

func FuzzTopic(f *testing.F) {
	for i, name := range hostileNames {
		f.Add(byte(i), "app", name, i)
	}
	f.Fuzz(func(t *testing.T, k byte, app, name string, database int) {
		kind := Kind(k) % kinds
		if !isAppID(app) || name == "" || database < 0 {
			return
		}
		n, err := New("fw", database)
		if err != nil {
			t.Fatal(err)
		}
		topic := n.Topic(kind, app, name)
		gotKind, gotApp, gotName, ok := n.ParseTopic(topic)
		if !ok || gotKind != kind || gotApp != app || gotName != name {
			t.Errorf("%q comes back as kind %d, %q of %q (%v)", topic, gotKind, gotName, gotApp, ok)
		}
	})
}

func FuzzParseTopic(f *testing.F) {
	for kind := range kinds {
		for _, name := range hostileNames {
			f.Add((Namespace{}).Topic(kind, "app", name))
		}
	}
	f.Fuzz(func(t *testing.T, topic string) {
		var n Namespace
		if kind, app, name, ok := n.ParseTopic(topic); ok {
			if again := n.Topic(kind, app, name); again != topic || !isAppID(app) || name == "" {
				t.Errorf("%q is kind %d, %q of %q, whose topic is %q", topic, kind, name, app, again)
			}
		}
	})
}

func BenchmarkTopic(b *testing.B) {
	var n Namespace
	for b.Loop() {
		n.Topic(Messages, "app_a", "devices/camera-001/events")
	}
}

func BenchmarkParseTopic(b *testing.B) {
	var n Namespace
	topic := n.Topic(Messages, "app_a", "devices/camera-001/events")
	for b.Loop() {
		n.ParseTopic(topic)
	}
}
