package history

import "context"

// Follow looks at the apps document once, as Run does.
func (s *Sweeper) Follow(ctx context.Context) bool { return s.follow(ctx, s.opt.Directory()) }
