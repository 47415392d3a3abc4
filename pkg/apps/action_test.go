package apps

import (
	"slices"
	"testing"
)

func TestParseAction(t *testing.T) {
	for _, s := range []string{"publish", "subscribe", "presence", "send"} {
		if a, ok := ParseAction(s); !ok || string(a) != s {
			t.Errorf("ParseAction(%q) = %q, %v; want it known", s, a, ok)
		}
	}
	for _, s := range []string{"", "Publish", "publish ", "admin", "*"} {
		if _, ok := ParseAction(s); ok {
			t.Errorf("ParseAction(%q) is known; want unknown", s)
		}
	}
}

func TestActionsSet(t *testing.T) {
	var set Actions
	if got := set.List(); got == nil || len(got) != 0 {
		t.Errorf("List of the empty set = %#v; want empty and not nil", got)
	}
	set.Add(ActionSend)
	set.Add(ActionPublish)
	set.Add(ActionPublish)
	set.Add("admin")
	if got, want := set.List(), []Action{ActionPublish, ActionSend}; !slices.Equal(got, want) {
		t.Errorf("List = %v; want %v", got, want)
	}
	if set != ActionsOf(ActionPublish, ActionSend) {
		t.Errorf("set = %b; want what ActionsOf makes", set)
	}
	for _, a := range []Action{ActionSubscribe, ActionPresence, "", "admin"} {
		if set.Has(a) || AllActions.Has(a) != (a == ActionSubscribe || a == ActionPresence) {
			t.Errorf("Has(%q) is wrong", a)
		}
	}
	if !slices.Equal(AllActions.List(), []Action{ActionPublish, ActionSubscribe, ActionPresence, ActionSend}) {
		t.Errorf("AllActions = %v", AllActions.List())
	}
}

func TestActionsContains(t *testing.T) {
	for a := Actions(0); a <= AllActions; a++ {
		for b := Actions(0); b <= AllActions; b++ {
			want := true
			for _, action := range b.List() {
				want = want && a.Has(action)
			}
			if got := a.Contains(b); got != want {
				t.Fatalf("%v.Contains(%v) = %v; want %v", a.List(), b.List(), got, want)
			}
		}
	}
}
