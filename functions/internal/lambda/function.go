package lambda

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/redis/go-redis/v9"

	"fleetwire/clients/go/protocol"
	"fleetwire/functions/internal/api"
	"fleetwire/pkg/apps"
	"fleetwire/pkg/awssecret"
	"fleetwire/pkg/command"
	"fleetwire/pkg/group"
	"fleetwire/pkg/publish"
	"fleetwire/pkg/quota"
	"fleetwire/pkg/redisconn"
	"fleetwire/pkg/rediskeys"
	"fleetwire/pkg/usage"
)

const (
	// AnswerLimit is how long a request may take: then the
	// caller has an answer within 2 s, also of a function that only starts then.
	AnswerLimit = 1500 * time.Millisecond
	// MaxWait is how long a request of a function made by ServeWaiting waits at most.
	MaxWait = 20 * time.Second
	// waitingLimit is how long one may take; the function's timeout is above it.
	waitingLimit = MaxWait + 2*AnswerLimit
	// refreshLimit is how much of that may go into reading secrets again.
	refreshLimit = time.Second
	// startLimit and helloLimit bound what is done before the first request, whose
	// caller may be waiting: reading the configuration, and dialling Redis.
	startLimit = AnswerLimit
	helloLimit = 250 * time.Millisecond
	// retryAfter is for how long a failed reading of the configuration stands.
	retryAfter = time.Second
	// idleLimit is when a connection to Redis counts as stale: before AWS's
	// network forgets connections without telling anybody (350 s). A function
	// that wakes up later dials anew.
	idleLimit = "240s"
)

// Services is what a function's handler is built from.
type Services struct {
	API       api.Config
	Redis     redis.UniversalClient
	Keys      rediskeys.Namespace // of what is in Redis
	Publisher *publish.Service    // the door for messages

	log   *slog.Logger
	usage *usage.Recorder
	hooks *hooks
}

// hooks are what a handler's parts have done: before each answer goes out, since a frozen
// function may never run again, and when the handler is replaced.
type hooks struct{ answered, replaced []func() }

func run(all []func()) {
	for _, f := range all {
		f()
	}
}

// Commands is what keeps commands, for one handler.
func (s Services) Commands() *command.Service {
	store := command.NewStore(command.Options{Redis: s.Redis, Keys: s.Keys, Apps: s.API.Apps, Log: s.log})
	waits := command.NewWaits(store, s.Redis, s.log)
	s.hooks.answered = append(s.hooks.answered, store.Finish)
	s.hooks.replaced = append(s.hooks.replaced, waits.Close)
	return command.NewService(command.ServiceOptions{
		Store: store, Waits: waits, Keys: s.Keys, Usage: s.usage, Now: time.Now,
	})
}

// Groups is what keeps messages that wait for groups, for one handler.
func (s Services) Groups() *group.Service {
	service := group.NewService(group.Options{Redis: s.Redis, Keys: s.Keys}, s.log)
	s.hooks.replaced = append(s.hooks.replaced, service.Close)
	return service
}

// Build makes a function's handler. It is called again when Redis moves.
type Build func(Services) http.Handler

// Serve is the main of a Lambda function. It does not return.
func Serve(build Build) { serveWithin(AnswerLimit, build) }

// ServeWaiting is Serve for a function whose requests may wait for as long as MaxWait.
func ServeWaiting(build Build) { serveWithin(waitingLimit, build) }

func serveWithin(limit time.Duration, build Build) {
	log := logger(os.Stderr, os.Getenv("FLEETWIRE_LOG_LEVEL"))
	warnUnknown(os.Environ(), log)
	f := newFunction(settingsFromEnvironment(), build, log)
	f.limit = limit
	f.start()
	lambda.Start(Events{Handler: f, Log: log})
}

// function is a handler and its configuration, which may come late.
type function struct {
	settings settings
	build    Build
	secrets  *awssecret.Source
	log      *slog.Logger
	now      func() time.Time
	limit    time.Duration // of a request

	mu      sync.Mutex
	failed  error     // why there is no configuration
	read    time.Time // when that was, or when the secrets were read last
	apps    *apps.Document
	url     string // of rdb
	rdb     redis.UniversalClient
	handler http.Handler // nil until there is a configuration
	hooks   *hooks       // of handler
	form    form
}

// form is a hook that sees that a Redis that did not answer in time, and so was taken for one
// server, is a cluster.
type form struct{ isCluster atomic.Bool }

func (f *form) see(err error) error {
	if redisconn.BecameCluster(err) {
		f.isCluster.Store(true)
	}
	return err
}

func (f *form) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *form) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return f.see(next(ctx, cmd)) }
}

func (f *form) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return f.see(next(ctx, cmds)) }
}

func newFunction(s settings, build Build, log *slog.Logger) *function {
	return &function{settings: s, build: build, secrets: new(awssecret.Source), log: log, now: time.Now, limit: AnswerLimit}
}

// start reads the configuration and connects to Redis while Lambda still waits
// for the function. A failure is logged and tried again with each request.
func (f *function) start() {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if _, err := f.current(ctx); err != nil {
		f.log.Error("not configured: requests are answered 503 until this is mended", "err", err)
		return
	}
	hello, done := context.WithTimeout(ctx, helloLimit)
	defer done()
	// A pipeline, because go-redis keeps connections of their own for those, and
	// all that the handlers do are some.
	_, err := f.rdb.Pipelined(hello, func(p redis.Pipeliner) error { return p.Ping(hello).Err() })
	if err != nil {
		f.log.Warn("redis does not answer: requests are answered 503 until it does", "err", redisconn.Advise(f.rdb, err))
	}
}

// ServeHTTP is http.Handler's.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), f.limit)
	defer cancel()
	r = r.WithContext(ctx)
	handler, err := f.current(ctx)
	if err != nil {
		shown := protocol.Errorf(protocol.BackendError, "the service is not configured, so nothing was done; its log says what is missing")
		api.WriteError(w, r, f.log, fmt.Errorf("%w: %w", shown, err))
		return
	}
	handler.ServeHTTP(w, r)
}

// current is the handler of the configuration as it is now.
func (f *function) current(ctx context.Context) (http.Handler, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch age := f.now().Sub(f.read); {
	case f.handler != nil:
		if f.form.isCluster.Swap(false) {
			if err := f.connect(f.url); err != nil {
				f.log.Error("redis is a cluster, which the Redis URL is not for", "err", err)
			}
		}
		if age >= awssecret.RefreshInterval && f.settings.fromSecrets() {
			f.refresh(ctx)
		}
	case f.failed == nil || age >= retryAfter:
		f.failed = f.configure(ctx)
		f.read = f.now()
	}
	return f.handler, f.failed
}

// configure is called with f.mu held, until it succeeds.
func (f *function) configure(ctx context.Context) (err error) {
	if err := f.settings.check(); err != nil {
		return err
	}
	if f.apps, err = awssecret.OpenApps(ctx, f.secrets, f.settings.apps, f.log); err != nil {
		return fmt.Errorf("FLEETWIRE_APPS: %w", err)
	}
	url, err := f.secrets.Resolve(ctx, f.settings.redis)
	if err == nil {
		err = f.connect(url)
	}
	var setting *redisconn.SettingError
	if errors.As(err, &setting) {
		return fmt.Errorf("FLEETWIRE_REDIS_%s: %w", strings.ToUpper(setting.Setting), setting.Err)
	}
	if err != nil {
		return fmt.Errorf("FLEETWIRE_REDIS_URL: %w", err)
	}
	return nil
}

// refresh is called with f.mu held. A document that cannot be read changes nothing.
func (f *function) refresh(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, refreshLimit)
	defer cancel()
	f.read = f.now()
	f.apps.Refresh(ctx)
	url, err := f.secrets.Resolve(ctx, f.settings.redis)
	if err == nil && url != f.url {
		err = f.connect(url)
	}
	if err != nil {
		f.log.Warn("the Redis URL could not be read again; the last good one stays in force", "err", err)
	}
}

// connect makes the handler anew on the Redis at url. It waits for helloLimit at most to learn
// whether that is a cluster.
func (f *function) connect(url string) error {
	security, err := f.settings.tls()
	if err != nil {
		return err
	}
	rdb, err := redisconn.OpenWithin(helloLimit, withIdleLimit(url), security)
	if err != nil {
		return err
	}
	rdb.AddHook(&f.form)
	keys, err := f.settings.keys(redisconn.Database(rdb))
	if err != nil {
		return err
	}
	if f.rdb != nil {
		f.log.Info("redis has moved")
		former, hooks := f.rdb, f.hooks
		// Requests that have begun may finish.
		time.AfterFunc(f.limit, func() {
			run(hooks.replaced)
			_ = former.Close()
		})
	}
	f.url, f.rdb = url, rdb
	recorder := usage.NewRecorder(usage.RecorderOptions{Redis: rdb, Keys: keys, Log: f.log})
	f.hooks = &hooks{}
	f.handler = finish(f.build(services(f.apps.Store, rdb, keys, recorder, f.hooks, f.log)), recorder, f.hooks, f.log)
	return nil
}

// finish writes what a request added to the usage figures before it is over, and sees
// to what else it left to be done: a frozen function may never run again.
func finish(h http.Handler, recorder *usage.Recorder, hooks *hooks, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		run(hooks.answered)
		if err := recorder.Flush(r.Context()); err != nil {
			log.Warn("usage figures are not written yet, the next request tries again", "err", err)
		}
	})
}

func withIdleLimit(url string) string {
	const option = "conn_max_idle_time="
	switch {
	case strings.Contains(url, option):
		return url
	case strings.Contains(url, "?"):
		return url + "&" + option + idleLimit
	}
	return url + "?" + option + idleLimit
}

func services(store *apps.Store, rdb redis.UniversalClient, keys rediskeys.Namespace, recorder *usage.Recorder, hooks *hooks, log *slog.Logger) Services {
	return Services{
		API:   api.Config{Apps: store, Limiter: quota.NewRateLimiter(rdb, keys), Log: log},
		Redis: rdb,
		Keys:  keys,
		// No Health: a probe's opinion is as old as the last freeze.
		Publisher: publish.New(publish.Options{Redis: rdb, Keys: keys, Log: log, Now: time.Now, Usage: recorder}),
		log:       log, usage: recorder, hooks: hooks,
	}
}
