package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A device answers in the moment in which it times out: it is told that its answer is taken in
// any case, and REST has it as the answer or as a late one, never as both.
func TestAnswerRacesTheTimeout(t *testing.T) {
	const races = 60
	key := newKey("late", "**")
	s := startTwoNodes(t, newApp("app_late", key))
	cam := s.last().connect(t, key.token("hall", nil)).subscribe(hall)
	ids, handed := make([]string, races), make([]time.Time, races)
	for i := range ids {
		ids[i] = s.first().command(t, key, hall, fmt.Sprint(i), `,"waitMs":0,"timeoutMs":1000`).ID
		if got := cam.nextCommand(); got != ids[i] {
			t.Fatalf("got %s, want %s", got, ids[i])
		}
		handed[i] = time.Now()
		time.Sleep(5 * time.Millisecond) // so that there is time for an answer between two timeouts
	}
	kinds := map[string]int{}
	for i, id := range ids {
		time.Sleep(time.Until(handed[i].Add(time.Second - 6*time.Millisecond + rand.N(10*time.Millisecond))))
		cam.answers(id, `,"data":1`)
	}
	for _, id := range ids {
		c := s.first().commandCall(t, key, "GET", "/v1/commands/"+id, "")
		kind := c.Status
		if c.Answers[0].Late != nil {
			kind += " late"
		}
		kinds[kind]++
	}
	if kinds["succeeded"]+kinds["timed_out late"] != races {
		t.Errorf("the commands ended as %v", kinds)
	}
}
