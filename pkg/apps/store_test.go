package apps

import (
	"sync"
	"testing"
)

func TestStoreSwapsWhileItIsRead(t *testing.T) {
	first, err := Parse([]byte(document("")))
	if err != nil {
		t.Fatal(err)
	}
	second, err := Parse([]byte(`{"apps":[{"id":"b","keys":[]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	store := NewStore(first)
	if store.Current() != first {
		t.Fatal("a new store does not hold its directory")
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 1000 {
				dir := store.Current()
				_, hasKey := dir.Key("sk_live_1")
				_, hasB := dir.App("b")
				if hasKey == hasB {
					t.Error("a directory is half of one document and half of another")
					return
				}
			}
		})
	}
	for range 500 {
		store.Replace(second)
		store.Replace(first)
	}
	store.Replace(second)
	readers.Wait()
	if store.Current() != second {
		t.Error("the last directory is not in force")
	}
}

func TestStoreRefusesNil(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a store took nil: its readers would fall over later")
		}
	}()
	NewStore(nil)
}
