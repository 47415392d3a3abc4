package batch_test

import (
	"slices"
	"testing"

	"fleetwire/pkg/batch"
)

func TestSignal(t *testing.T) {
	s := batch.NewSignal()
	isSet := func() bool {
		select {
		case <-s:
			return true
		default:
			return false
		}
	}
	if isSet() {
		t.Error("a new signal is set")
	}
	s.Set()
	s.Set()
	if !isSet() || isSet() {
		t.Error("two Sets are not one signal")
	}
}

func TestTake(t *testing.T) {
	queue := []int{1, 2, 3, 4, 5}
	first := batch.Take(&queue, 2)
	queue = append(queue, 6)
	if rest := batch.Take(&queue, 9); !slices.Equal(first, []int{1, 2}) || !slices.Equal(rest, []int{3, 4, 5, 6}) || queue != nil {
		t.Errorf("took %v and %v, left %v", first, rest, queue)
	}
	if none := batch.Take(&queue, 9); len(none) != 0 {
		t.Errorf("took %v of nothing", none)
	}
	queue = []int{1, 2}
	if first = append(batch.Take(&queue, 1), 9); !slices.Equal(queue, []int{2}) {
		t.Errorf("what was taken grew into the queue: %v, %v", first, queue)
	}
}
