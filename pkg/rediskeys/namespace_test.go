package rediskeys

import (
	"strings"
	"testing"
)

func TestNew(t *testing.T) {
	for _, prefix := range []string{"fw", "a", "staging", "site-7_b", strings.Repeat("x", 32)} {
		n, err := New(prefix, 3)
		if err != nil || n.Prefix() != prefix {
			t.Errorf("%q: %q, %v", prefix, n.Prefix(), err)
		}
	}
	for _, prefix := range []string{"", "7", "-a", "_", "Fw", "fw:", "a b", "a{", "a*", "é", "a\x00", strings.Repeat("x", 33)} {
		_, err := New(prefix, 0)
		if err == nil || !strings.Contains(err.Error(), "1 to 32 characters") || len(err.Error()) > 250 {
			t.Errorf("%q: error %v", prefix, err)
		}
	}
}

// The zero Namespace is the default, and no other namespace has any of its names.
func TestNamespacesAreApart(t *testing.T) {
	space := func(prefix string, database int) Namespace {
		n, err := New(prefix, database)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if space("fw", 0) != (Namespace{}) {
		t.Error("fw on database 0 is not the default")
	}
	spaces := []Namespace{{}, space("fw", 1), space("fw", 10), space("f", 0), space("fw-1", 0), space("fw_0", 0), space("fwx", 1)}
	for i, n := range spaces {
		topic := n.Topic(Messages, "app", "c")
		for j, other := range spaces {
			if _, _, _, ok := other.ParseTopic(topic); ok != (i == j) {
				t.Errorf("%s is a topic of %+v: %v", topic, other, ok)
			}
			if _, _, err := other.ParseBucket(string(n.Bucket("app", "c"))); (err == nil) != (n.Prefix() == other.Prefix()) {
				t.Errorf("%s is a bucket of %+v: %v", n.Bucket("app", "c"), other, err)
			}
		}
	}
}
