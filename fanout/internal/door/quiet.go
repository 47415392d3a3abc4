package door

import "log/slog"

// quiet is fasthttp's log. It tells what happened and leaves out to whom: what
// fasthttp fills in may be a request's head, with a token in it.
type quiet struct{ log *slog.Logger }

// Printf is fasthttp.Logger's.
func (q quiet) Printf(format string, _ ...any) { q.log.Debug("fasthttp", "says", format) }
