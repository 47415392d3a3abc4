// Package telemetry is the names under which operators see what goes on: the
// structured log (slog, JSON or text lines on standard error) and the
// Prometheus metrics. Nothing here or in any caller logs a secret or a token.
package telemetry

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
)

// NewLogger writes lines of at least level ("debug", "info", "warn", "error") in
// format ("text" or "json"). Durations have their unit in both: "10s", "1.5ms".
// If w is an Output, it tells in the same format how many lines it dropped.
func NewLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q: want debug, info, warn or error", level)
	}
	opt := &slog.HandlerOptions{Level: l, ReplaceAttr: durationWithUnit}
	var handler func(io.Writer) slog.Handler
	switch format {
	case "json":
		handler = func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, opt) }
	case "text":
		handler = func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, opt) }
	default:
		return nil, fmt.Errorf("log format %q: want text or json", format)
	}
	if o, ok := w.(*Output); ok {
		o.mu.Lock()
		o.notice = func(lines int) []byte {
			var line bytes.Buffer
			slog.New(handler(&line)).Error("log lines were dropped, because they were not read in time", "lines", lines)
			return line.Bytes()
		}
		o.mu.Unlock()
	}
	return slog.New(handler(w)), nil
}

// durationWithUnit has the JSON handler write a duration as the text handler does,
// not as a number of nanoseconds.
func durationWithUnit(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
