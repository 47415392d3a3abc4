// Package telemetry is the names under which operators see what goes on: the
// structured log (slog, JSON or text lines on standard error) and the
// Prometheus metrics. Nothing here or in any caller logs a secret or a token.
package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// NewLogger writes lines of at least level ("debug", "info", "warn", "error") in
// format ("text" or "json").
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	opt := &slog.HandlerOptions{Level: l}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, opt)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, opt)), nil
	default:
		return nil, fmt.Errorf("log format %q: want text or json", format)
	}
}
