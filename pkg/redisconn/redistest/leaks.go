package redistest

import "go.uber.org/goleak"

// VerifyTestMain runs a package's tests, and fails if goroutines are left when they have
// ended. A pool of go-redis that could not dial tries once a second, and notices only then
// that it was closed.
func VerifyTestMain(m goleak.TestingM) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
