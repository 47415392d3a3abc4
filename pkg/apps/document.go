package apps

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// readLimit bounds one reading by [Document.Run].
const readLimit = 10 * time.Second

// Document is an apps document that is kept current: the last good version of it
// is in force in its Store (protocol §7).
type Document struct {
	Store *Store

	source  Source
	log     *slog.Logger
	inForce [sha256.Size]byte // of the text in force
	exposed string            // what the log has of the file's mode

	// Of what is wrong with the newest version; empty while nothing is.
	doubted time.Time // when it was first seen
	said    string    // what the log has of it
}

// Open reads and checks the document for the first time. Its warnings go into the
// log. The errors are those of the source and of [Parse].
func Open(ctx context.Context, source Source, log *slog.Logger) (*Document, error) {
	d := &Document{source: source, log: log}
	text, err := source.Read(ctx)
	if err != nil {
		return nil, err
	}
	directory, err := d.parse(text)
	if err != nil {
		return nil, err
	}
	d.Store = NewStore(directory)
	d.inForce = sha256.Sum256(text)
	d.warn(directory)
	return d, nil
}

func (d *Document) parse(text []byte) (*Directory, error) {
	directory, err := Parse(text)
	if err != nil && d.source.Name != "" {
		err = fmt.Errorf("%s: %w", d.source.Name, err)
	}
	return directory, err
}

func (d *Document) warn(directory *Directory) {
	for _, w := range directory.Warnings() {
		d.log.Warn("apps document", "warning", w)
	}
	if d.source.Exposed == nil {
		return
	}
	exposed := d.source.Exposed()
	if exposed != "" && exposed != d.exposed { // once, not with every new version
		d.log.Warn("apps document", "warning", exposed)
	}
	d.exposed = exposed
}

// Run calls Refresh as often as the source asks for, until ctx ends, and reads the
// document at once when something comes from reload, which may be nil.
func (d *Document) Run(ctx context.Context, reload <-chan struct{}) {
	var due <-chan time.Time
	switch {
	case d.source.Every > 0:
		tick := time.NewTicker(d.source.Every)
		defer tick.Stop()
		due = tick.C
	case reload == nil:
		return
	}
	for {
		again := d.Refresh
		select {
		case <-ctx.Done():
			return
		case <-due:
		case <-reload:
			again = d.reload
		}
		reading, cancel := context.WithTimeout(ctx, readLimit)
		again(reading)
		cancel()
	}
}

// Refresh reads the document again and puts a new version in force. While it
// cannot be read or is broken, the last good version stays; that is in the log,
// once for each problem, and in Store.Stale. Calls must not overlap.
func (d *Document) Refresh(ctx context.Context) {
	if d.source.Every == 0 {
		return
	}
	switch _, err := d.look(ctx); {
	case err == nil:
		d.mended()
	case !errors.Is(ctx.Err(), context.Canceled): // a caller that gave up is no news
		d.broken(err)
	}
}

// reload is Refresh for an operator who has asked for it: the log says in any case what
// came of it, and a broken document is told at the first look.
func (d *Document) reload(ctx context.Context) {
	if d.source.Every == 0 {
		d.log.Info("asked to read the apps document again, but it cannot change: it was given inline, or came out of a pipe")
		return
	}
	replaced, err := d.look(ctx)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
	case err != nil:
		d.doubt()
		d.said = "" // it is told again
		d.broken(err)
	default:
		if !replaced {
			d.log.Info("the apps document was read again and is the one in force", "source", d.source.Name)
		}
		d.mended()
	}
}

// look puts the document in force if it is another and good.
func (d *Document) look(ctx context.Context) (replaced bool, err error) {
	text, err := d.source.Read(ctx)
	if err != nil {
		return false, err
	}
	sum := sha256.Sum256(text)
	if sum == d.inForce {
		return false, nil
	}
	directory, err := d.parse(text)
	if err != nil {
		return false, err
	}
	d.inForce = sum
	d.Store.Replace(directory)
	d.log.Info("a new version of the apps document is in force", "source", d.source.Name)
	d.warn(directory)
	return true, nil
}

// doubt notes that the newest version is not good; first says that the one before was.
func (d *Document) doubt() (first bool) {
	if first = d.doubted.IsZero(); first {
		d.doubted = time.Now()
	}
	return first
}

func (d *Document) broken(err error) {
	if d.doubt() && d.source.Torn {
		return // the writer may have finished by the next reading
	}
	if why := err.Error(); why != d.said {
		d.said = why
		d.Store.stale.Store(&Stale{Since: d.doubted, Why: why})
		d.log.Error("the newest version of the apps document cannot be used; the last good one stays in force", "err", err)
	}
}

func (d *Document) mended() {
	if d.said != "" {
		d.Store.stale.Store(nil)
		d.log.Info("the apps document is in order again, and its newest version in force", "source", d.source.Name)
	}
	d.doubted, d.said = time.Time{}, ""
}
