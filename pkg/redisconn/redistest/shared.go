package redistest

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
)

// shared is the cluster that the tests of a package share.
var shared struct {
	sync.Mutex
	cluster *Cluster
	tests   *lasting
}

// SharedCluster is a Redis Cluster of three masters, without replicas, that the tests of a
// package share, one after the other, as it takes seconds to start. It is empty. Nothing
// may happen to its nodes. It ends in VerifyTestMain, or in EndShared.
func SharedCluster(t testing.TB) *Cluster {
	t.Helper()
	needServer(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil {
		shared.tests = &lasting{}
		shared.cluster = StartClusterOf(shared.tests, 3, 0)
	}
	c := &Cluster{t: t, Nodes: shared.cluster.Nodes}
	c.Flush()
	return c
}

// EndShared ends what tests have shared.
func EndShared() {
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster != nil {
		shared.tests.end()
		shared.cluster = nil
	}
}

// lasting is what a server is started for that outlives a test.
type lasting struct {
	testing.TB
	cleanups []func()
}

func (*lasting) Helper()            {}
func (l *lasting) Cleanup(f func()) { l.cleanups = append(l.cleanups, f) }

func (l *lasting) TempDir() string {
	dir, err := os.MkdirTemp("", "redistest-")
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (*lasting) Error(args ...any)            { panic(fmt.Sprint(args...)) }
func (*lasting) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (*lasting) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }

func (l *lasting) end() {
	for _, f := range slices.Backward(l.cleanups) {
		f()
	}
}
