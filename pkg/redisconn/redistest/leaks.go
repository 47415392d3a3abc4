package redistest

import "go.uber.org/goleak"

// VerifyTestMain runs a package's tests, and fails if goroutines are left when they have
// ended. A pool of go-redis that could not dial tries once a second, and notices only then
// that it was closed.
func VerifyTestMain(m goleak.TestingM) {
	goleak.VerifyTestMain(ending{m}, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

// ending ends what the tests have shared when they have run.
type ending struct{ goleak.TestingM }

func (e ending) Run() int {
	defer EndShared()
	return e.TestingM.Run()
}
