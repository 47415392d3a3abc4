// Package show prints what commands have to say: for people on a terminal, in columns and
// colours, or as one JSON object a line for programs.
package show

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/mattn/go-isatty"
)

// Printer prints to one output.
type Printer struct {
	w        io.Writer
	terminal bool
	colours  bool
}

// NewPrinter returns a Printer. It uses colours if the output is a terminal and NO_COLOR is not
// set (no-color.org).
func NewPrinter(w io.Writer, getenv func(string) string) *Printer {
	p := &Printer{w: w}
	if file, ok := w.(*os.File); ok {
		p.terminal = isatty.IsTerminal(file.Fd())
	}
	p.colours = p.terminal && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"
	return p
}

// Line prints a line.
func (p *Printer) Line(format string, args ...any) error {
	_, err := fmt.Fprintf(p.w, format+"\n", args...)
	return err
}

// JSON prints a value as one line of JSON. Characters that a terminal would obey are escaped, which
// changes nothing for a program that reads the line.
func (p *Printer) JSON(value any) error {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err
	}
	return p.Line("%s", Safe(strings.TrimSuffix(line.String(), "\n")))
}

// Table prints rows in columns under a head.
func (p *Printer) Table(head []string, rows [][]string) error {
	w := tabwriter.NewWriter(p.w, 0, 8, 2, ' ', 0)
	for _, row := range append([][]string{head}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = Safe(cell)
		}
		line := strings.Join(cells, "\t")
		fmt.Fprintln(w, line)
	}
	return w.Flush()
}

// Redraw prints a line over the former one on a terminal, and nothing elsewhere.
func (p *Printer) Redraw(line string) {
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	}
}

// Clear clears a terminal, and does nothing elsewhere.
func (p *Printer) Clear() {
	if p.terminal {
		fmt.Fprint(p.w, "\x1b[H\x1b[2J")
	}
}

// A Colour is how a word stands out.
type Colour string

// The colours.
const (
	Green  Colour = "32"
	Yellow Colour = "33"
	Red    Colour = "31"
	Faint  Colour = "2"
)

// In is the text in a colour, on a terminal.
func (p *Printer) In(colour Colour, text string) string {
	if !p.colours || text == "" {
		return text
	}
	return "\x1b[" + string(colour) + "m" + text + "\x1b[0m"
}

// Data is a JSON value that a device has sent, on one line and safe to print.
func Data(raw json.RawMessage) string {
	if !bytes.ContainsAny(raw, "\t\r\n") {
		return Safe(string(raw))
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return Safe(string(raw))
	}
	return Safe(line.String())
}

// Safe escapes, as JSON does, the characters of a text that a terminal would obey. Devices may
// send such characters. A byte that is not UTF-8 becomes U+FFFD: some terminals obey it, too.
func Safe(text string) string {
	text = strings.ToValidUTF8(text, "\ufffd")
	if !strings.ContainsFunc(text, dangerous) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if !dangerous(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// SafeLines is Safe for a text of several lines.
func SafeLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = Safe(line)
	}
	return strings.Join(lines, "\n")
}

// dangerous are control characters, and those that turn the direction of writing.
func dangerous(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029'
}

// Ago is how long ago a time was, such as 3m; "-" for the zero time.
func Ago(now, at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return Duration(now.Sub(at)) + " ago"
}

// Duration is a duration in its largest whole unit, such as 90s, 4m, 3h or 12d.
func Duration(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// Bytes is a number of bytes with its unit.
func Bytes(n int64) string {
	const units = "KMGT"
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	return fmt.Sprintf("%.1f %ciB", value, units[unit])
}

// Bar is a bar of so many of all, of a width.
func Bar(done, all, width int) string {
	filled := 0
	if all > 0 {
		filled = min(width, done*width/all)
	}
	return "[" + strings.Repeat("#", filled) + strings.Repeat(".", width-filled) + "]"
}

// IsTerminal tells whether a file is a terminal.
func IsTerminal(file *os.File) bool { return isatty.IsTerminal(file.Fd()) }
