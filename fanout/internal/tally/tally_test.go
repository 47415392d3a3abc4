package tally

import (
	"encoding/json"
	"sync"
	"testing"
)

func TestTally(t *testing.T) {
	var tally Tally
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			a := tally.Of("a")
			a.Connected()
			a.Connected()
			a.Published("ok")
			a.Published("over_message_quota")
			a.Deliveries.Add(3)
			a.Closed("server", 4020)
			a.Refused(429)
		})
	}
	tally.Of("b").Deliveries.Add(1)
	all.Wait()
	tally.Of("a").Closed("peer", 3999)
	got, err := json.Marshal(tally.Of("a").Shown())
	want := `{"connections":3,"messages":4,"deliveries":12,"dropped":{"over_message_quota":4},"closes":{"4020":4,"other":1},"refusals":{"429":4}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	if got := tally.Deliveries(); got != 13 {
		t.Errorf("%d deliveries of all apps, want 13", got)
	}
	got, _ = json.Marshal(tally.Of("new").Shown())
	if want := `{"connections":0,"messages":0,"deliveries":0,"dropped":{},"closes":{},"refusals":{}}`; string(got) != want {
		t.Errorf("an app that did nothing: %s", got)
	}
}
