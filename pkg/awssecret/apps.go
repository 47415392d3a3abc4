package awssecret

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"fleetwire/pkg/apps"
)

// RefreshInterval is how often a secret is read again. A change is in force
// within twice that, even when one reading fails (protocol §7: ≤ 60 s).
const RefreshInterval = 25 * time.Second

// readLimit bounds one reading by [Apps.Run].
const readLimit = 10 * time.Second

// Apps is an apps document and, when it comes from a secret, what keeps it
// current.
type Apps struct {
	// Store holds the last good document.
	Store *apps.Store

	source  *Source
	arn     string // "" when the document is no secret
	version string // the last one looked at, good or not
	log     *slog.Logger
}

// OpenApps reads and checks the apps document that spec names: the ARN of a
// secret, or what [apps.Load] takes. Its warnings go into the log. Neither they
// nor the errors contain a secret.
func OpenApps(ctx context.Context, source *Source, spec string, log *slog.Logger) (*Apps, error) {
	if !IsARN(spec) {
		directory, err := apps.Load(spec)
		if err != nil {
			return nil, err
		}
		warn(log, directory)
		return &Apps{Store: apps.NewStore(directory), log: log}, nil
	}
	v, err := source.Get(ctx, spec)
	if err != nil {
		return nil, err
	}
	directory, err := apps.Parse([]byte(v.Text))
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", spec, err)
	}
	warn(log, directory)
	return &Apps{Store: apps.NewStore(directory), source: source, arn: spec, version: v.Version, log: log}, nil
}

// Refresh reads the secret again and puts a new version in force. What goes
// wrong is logged, and the last good document stays. Calls must not overlap.
func (a *Apps) Refresh(ctx context.Context) {
	if a.arn == "" {
		return
	}
	v, err := a.source.Get(ctx, a.arn)
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) {
			a.log.Warn("the apps document could not be read again; the last good one stays in force", "err", err)
		}
		return
	}
	if v.Version == a.version && v.Version != "" {
		return
	}
	a.version = v.Version
	directory, err := apps.Parse([]byte(v.Text))
	if err != nil {
		a.log.Error("the new version of the apps document is broken; the last good one stays in force", "secret", a.arn, "version", v.Version, "err", err)
		return
	}
	a.Store.Replace(directory)
	a.log.Info("a new version of the apps document is in force", "secret", a.arn, "version", v.Version)
	warn(a.log, directory)
}

func warn(log *slog.Logger, directory *apps.Directory) {
	for _, w := range directory.Warnings() {
		log.Warn("apps document", "warning", w)
	}
}

// Run calls Refresh every RefreshInterval until ctx ends. For a document that is
// no secret it returns at once.
func (a *Apps) Run(ctx context.Context) {
	if a.arn == "" {
		return
	}
	tick := time.NewTicker(RefreshInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			reading, cancel := context.WithTimeout(ctx, readLimit)
			a.Refresh(reading)
			cancel()
		}
	}
}
