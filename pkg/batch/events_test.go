package batch_test

import (
	"slices"
	"testing"

	"fleetwire/pkg/batch"
)

func TestEvents(t *testing.T) {
	e := batch.NewEvents()
	if len(e.Signal) > 0 || e.Run() {
		t.Error("there are some from the beginning")
	}
	var ran []int
	e.Add(func() {
		ran = append(ran, 1)
		e.Add(func() { ran = append(ran, 3) })
	})
	e.Add(func() { ran = append(ran, 2) })
	<-e.Signal // set once for both
	if len(e.Signal) > 0 || !e.Run() || !slices.Equal(ran, []int{1, 2}) {
		t.Errorf("the first run called %v", ran)
	}
	if <-e.Signal; !e.Run() || !slices.Equal(ran, []int{1, 2, 3}) {
		t.Errorf("after the second run %v were called", ran)
	}
	if e.Run() {
		t.Errorf("a third run called %v", ran)
	}
}
