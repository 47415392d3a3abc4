package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/auth"
)

// RateLimiter bounds the requests of each key over all instances of all
// functions (protocol §6): [fleetwire/pkg/quota.RateLimiter].
type RateLimiter interface {
	// AllowREST takes one request from the bucket of key. When it refuses,
	// retryAfter says how long until the next request can pass. An error means
	// that is not known.
	AllowREST(ctx context.Context, key *apps.Key) (ok bool, retryAfter time.Duration, err error)
}

// Config is what every handler of the control plane needs.
type Config struct {
	Apps    *apps.Store      // required
	Limiter RateLimiter      // required
	Log     *slog.Logger     // nil: slog.Default()
	Now     func() time.Time // nil: time.Now
}

// Time is the current time by the configured clock.
func (c Config) Time() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c Config) log() *slog.Logger {
	if c.Log == nil {
		return slog.Default()
	}
	return c.Log
}

// A HandlerFunc serves a request that key may make. It writes a response and
// returns nil, or it writes nothing and returns an error; headers that it set
// before (Retry-After, say) go out with either.
type HandlerFunc func(w http.ResponseWriter, r *http.Request, key *apps.Key) error

// Endpoint serves one route: alone, as an http.Handler, or beside others in a [Router].
type Endpoint struct {
	Config
	Route Route
	serve HandlerFunc
}

// New makes serve into the endpoint of route, with the checks of the package doc
// before it. It panics when c lacks something required.
func New(c Config, route Route, serve HandlerFunc) *Endpoint {
	return NewTakingToken(c, route, func(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
		if err := c.TakeToken(w, r, key); err != nil {
			return err
		}
		return serve(w, r, key)
	})
}

// NewTakingToken is New without the check of the rate: serve sees to it that
// each request takes a token, and is answered 429 before anything else if there
// is none. With TakeToken it can do so ahead; [RateLimited] is for a serve that
// asks Redis for the token together with what else it wants from there.
func NewTakingToken(c Config, route Route, serve HandlerFunc) *Endpoint {
	if c.Apps == nil || c.Limiter == nil {
		panic("api.New: Config.Apps and Config.Limiter are required")
	}
	return &Endpoint{Config: c, Route: route, serve: serve}
}

// ServeHTTP is http.Handler's. A path that is not the route's is 404.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	param, ok := e.Route.Match(Path(r))
	if !ok {
		WriteError(w, r, e.log(), NotFound(e.Route))
		return
	}
	e.Route.setParam(r, param)
	e.answer(w, r)
}

// answer serves a request whose path has been matched.
func (e *Endpoint) answer(w http.ResponseWriter, r *http.Request) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler { // net/http's way to drop a connection
			panic(v)
		}
		WriteError(w, r, e.log(), fmt.Errorf("panic: %v\n%s", v, debug.Stack()))
	}()
	if err := e.handle(w, r); err != nil {
		WriteError(w, r, e.log(), err)
	}
}

func (e *Endpoint) handle(w http.ResponseWriter, r *http.Request) error {
	if !e.Route.Allows(r.Method) {
		return methodNotAllowed(w, e.Route.Path, e.Route.Allow())
	}
	// Which of two counts would be for the reader to choose, and proxies may choose another.
	if len(r.Header.Values("Authorization")) > 1 {
		return protocol.Errorf(protocol.InvalidRequest, "the request has two Authorization headers; send one")
	}
	key, refused := auth.Authenticate(e.Apps.Current(), r.Header.Get("Authorization"))
	if refused != nil {
		return refused
	}
	if key.App.Suspended {
		return protocol.Errorf(protocol.AccountSuspended, "app %s is suspended; its keys work again when an operator lifts that", key.App.ID)
	}
	if key.Role == apps.RoleViewer && e.Route.Method != http.MethodGet {
		return auth.ViewerOnly(key)
	}
	return e.serve(w, r, key)
}

// TakeToken takes the request's token from the key's bucket (protocol §6).
// Without one it sets Retry-After and returns rate_limited; the error is
// backend_error when that is not known.
func (c Config) TakeToken(w http.ResponseWriter, r *http.Request, key *apps.Key) error {
	ok, wait, err := c.Limiter.AllowREST(r.Context(), key)
	if err != nil {
		shown := protocol.Errorf(protocol.BackendError, "the rate limit could not be checked, so nothing was done; try again")
		return fmt.Errorf("%w: %w", shown, err)
	}
	if !ok {
		return RateLimited(w, key, wait)
	}
	return nil
}

// RateLimited sets Retry-After to wait, and is the error for a request of key
// that got no token.
func RateLimited(w http.ResponseWriter, key *apps.Key, wait time.Duration) error {
	limits := key.App.Limits
	SetRetryAfter(w, wait)
	return protocol.Errorf(protocol.RateLimited, "key %s is over %d requests per second (burst %d); wait as long as Retry-After says",
		key.ID, limits.RESTPerSec, limits.RESTBurst)
}
