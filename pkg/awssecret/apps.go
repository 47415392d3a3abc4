package awssecret

import (
	"context"
	"log/slog"
	"time"

	"fleetwire/pkg/apps"
)

// RefreshInterval is how often a secret is read again. A change is in force
// within twice that, even when one reading fails (protocol §7: ≤ 60 s).
const RefreshInterval = 25 * time.Second

// OpenApps opens the apps document that spec names: the ARN of a secret, or what
// [apps.SourceOf] takes.
func OpenApps(ctx context.Context, source *Source, spec string, log *slog.Logger) (*apps.Document, error) {
	if IsARN(spec) {
		return apps.Open(ctx, source.document(spec), log)
	}
	s, err := apps.SourceOf(spec)
	if err != nil {
		return nil, err
	}
	return apps.Open(ctx, s, log)
}

// document is an apps document that is kept as a secret.
func (s *Source) document(secretARN string) apps.Source {
	return apps.Source{
		Name:  "secret " + secretARN,
		Every: RefreshInterval,
		Read: func(ctx context.Context) ([]byte, error) {
			text, err := s.Get(ctx, secretARN)
			return []byte(text), err
		},
	}
}
