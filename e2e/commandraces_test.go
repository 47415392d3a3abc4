package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A command is cancelled in the moment in which its device subscribes: the device has it and
// REST says so, or neither. The answer of the device is recorded then, and the command stays
// cancelled.
func TestCancelRacesASubscribe(t *testing.T) {
	const races = 250
	key := newKey("races", "**")
	s := startTwoNodes(t, newApp("app_races", key))
	cam := s.last().connect(t, key.token("hall", nil))
	handed := 0
	head := time.Duration(0) // that the cancel has, so that either wins on any machine
	for range races {
		id := s.first().command(t, key, hall, "1", `,"waitMs":0,"ttlMs":60000`).ID
		cancelled := make(chan answer, 1)
		go func() {
			time.Sleep(rand.N(2*time.Millisecond) - head) // both begin at random, so that either may win
			a, err := s.first().call("DELETE", "/v1/commands/"+id, key.credential(), "")
			if err != nil {
				t.Error(err)
			}
			cancelled <- a
		}()
		time.Sleep(rand.N(2*time.Millisecond) + head)
		cam.subscribe(hall)
		at := (<-cancelled).command(t, 200)
		now := s.last().commandCall(t, key, "GET", "/v1/commands/"+id, "")
		if now.Status != "cancelled" || now.Counts["sent"] != at.Counts["sent"] {
			t.Fatalf("it was cancelled with %+v, and is %+v", at, now)
		}
		if now.Counts["sent"] == 0 {
			head -= 200 * time.Microsecond
		} else {
			head += 200 * time.Microsecond
			handed++
			cam.expectCommand(hall, "1", id, 1, true)
			cam.answers(id, `,"status":"failed"`)
			if now = s.first().commandCall(t, key, "GET", "/v1/commands/"+id, ""); now.Status != "cancelled" || now.Counts["failed"] != 1 {
				t.Fatalf("after its answer: %+v", now)
			}
		}
		// Live messages come when the node has claimed what waits. A claim that is late would
		// have the next command, too.
		s.first().publish(t, key, hall, "0")
		cam.expectMessage(hall, "server", "0") // and nothing before it
		cam.unsubscribe(hall)
	}
	if handed == 0 || handed == races {
		t.Errorf("%d of %d were handed over: nothing raced", handed, races)
	}
}

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
		// As Redis times it out, a little before or after.
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
