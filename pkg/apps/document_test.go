package apps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// kept is a document in a file, and what is logged about it.
type kept struct {
	*Document
	t    *testing.T
	path string
	log  *bytes.Buffer
}

// keep opens a file with the key sk_live_1.
func keep(t *testing.T) *kept {
	t.Helper()
	k := &kept{t: t, path: filepath.Join(t.TempDir(), "apps.json"), log: &bytes.Buffer{}}
	k.write(document(""))
	var err error
	if k.Document, err = open(k.path, slog.New(slog.NewTextHandler(k.log, nil))); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *kept) write(text string) {
	k.t.Helper()
	if err := os.WriteFile(k.path, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

// refresh looks now, and returns what was logged for it.
func (k *kept) refresh() string {
	k.t.Helper()
	k.log.Reset()
	k.Refresh(k.t.Context())
	if strings.Contains(k.log.String(), longSecret) {
		k.t.Errorf("the log has a secret: %s", k.log)
	}
	return k.log.String()
}

// wantKey wants this key to be the one in force.
func (k *kept) wantKey(id string) {
	k.t.Helper()
	if got := k.Store.Current().Apps()[0].Keys[0].ID; got != id {
		k.t.Errorf("the key in force is %s, want %s", got, id)
	}
}

func withKey(id string) string { return strings.Replace(document(""), "sk_live_1", id, 1) }

func TestANewVersionIsInForceAtTheNextLook(t *testing.T) {
	k := keep(t)
	replaced := k.Store.Replaced()
	if got := k.refresh(); got != "" {
		t.Errorf("unchanged: logged %q", got)
	}
	select {
	case <-replaced:
		t.Error("unchanged, but replaced")
	default:
	}
	k.write(withKey("sk_live_2"))
	if got := k.refresh(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "in force") {
		t.Errorf("changed: logged %q, want one line", got)
	}
	k.wantKey("sk_live_2")
	<-replaced
	if got := k.refresh(); got != "" {
		t.Errorf("unchanged since: logged %q", got)
	}
	k.write(document(""))
	k.refresh()
	k.wantKey("sk_live_1") // undone
}

// The ways in which a file changes without anybody opening it for writing.
func TestAFileIsFoundByItsPath(t *testing.T) {
	rename := func(t *testing.T, from, to string) {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	write := func(t *testing.T, path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(t *testing.T, target, path string) {
		if err := os.Symlink(target, path); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name    string
		prepare func(t *testing.T, dir string)
		change  func(t *testing.T, dir string)
	}{
		{"an editor replaces it by rename",
			func(t *testing.T, dir string) { write(t, dir+"/apps.json", withKey("sk_live_a")) },
			func(t *testing.T, dir string) {
				write(t, dir+"/apps.json.tmp", withKey("sk_live_b"))
				rename(t, dir+"/apps.json.tmp", dir+"/apps.json")
			}},
		{"with the same size and time of change",
			func(t *testing.T, dir string) { write(t, dir+"/apps.json", withKey("sk_live_a")) },
			func(t *testing.T, dir string) {
				info, err := os.Stat(dir + "/apps.json")
				if err != nil {
					t.Fatal(err)
				}
				write(t, dir+"/apps.json", withKey("sk_live_b"))
				if err := os.Chtimes(dir+"/apps.json", info.ModTime(), info.ModTime()); err != nil {
					t.Fatal(err)
				}
			}},
		{"Kubernetes switches the folder behind two symbolic links",
			func(t *testing.T, dir string) {
				write(t, dir+"/..2026_01/apps.json", withKey("sk_live_a"))
				write(t, dir+"/..2026_02/apps.json", withKey("sk_live_b"))
				link(t, "..2026_01", dir+"/..data")
				link(t, "..data/apps.json", dir+"/apps.json")
			},
			func(t *testing.T, dir string) {
				link(t, "..2026_02", dir+"/..data_tmp")
				rename(t, dir+"/..data_tmp", dir+"/..data")
				if err := os.RemoveAll(dir + "/..2026_01"); err != nil {
					t.Fatal(err)
				}
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			tt.prepare(t, dir)
			d, err := open(dir+"/apps.json", slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			tt.change(t, dir)
			d.Refresh(t.Context())
			if _, ok := d.Store.Current().Key("sk_live_b"); !ok {
				t.Error("the change is not in force")
			}
		})
	}
}

// Every way to break a file: the last good version stays, the log says so once,
// Stale for as long as it is so, and both that it is over.
func TestABrokenEditKeepsTheLastGoodVersion(t *testing.T) {
	remove := func(k *kept) {
		if err := os.Remove(k.path); err != nil {
			k.t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		edit func(k *kept)
		says string
	}{
		{"bad JSON", func(k *kept) { k.write(strings.Replace(document(""), ":", "", 1)) }, "is not valid JSON at line 1"},
		{"a failed check", func(k *kept) { k.write(strings.Replace(document(""), `"actions"`, `"acts"`, 1)) }, "apps[0].keys[0].acts: unknown field"},
		{"no app", func(k *kept) { k.write(`{"apps":[]}`) }, "must have at least one app"},
		{"emptied", func(k *kept) { k.write("") }, "is empty"},
		{"cut", func(k *kept) { k.write(document("")[:40]) }, "ends too early"},
		{"gone", remove, "no such file"},
		{"a folder instead", func(k *kept) {
			remove(k)
			if err := os.Mkdir(k.path, 0o700); err != nil {
				k.t.Fatal(err)
			}
		}, "is a directory"},
		{"a pipe instead", func(k *kept) {
			remove(k)
			if err := syscall.Mkfifo(k.path, 0o600); err != nil {
				k.t.Fatal(err)
			}
		}, "is no regular file any more"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := keep(t)
				time.Sleep(time.Hour)
				seen := time.Now()
				tt.edit(k)
				if got := k.refresh(); got != "" || k.Store.Stale() != nil {
					t.Errorf("at the first look, which may have met a half-written file: logged %q, stale %v", got, k.Store.Stale())
				}
				time.Sleep(FileInterval)
				got := k.refresh()
				if strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=ERROR") || !strings.Contains(got, tt.says) || !strings.Contains(got, "the last good one stays") || !strings.Contains(got, k.path) {
					t.Errorf("logged %q, want one line that names the file, and %q", got, tt.says)
				}
				for range 3 {
					time.Sleep(FileInterval)
					if got := k.refresh(); got != "" {
						t.Errorf("said again: %q", got)
					}
				}
				stale := k.Store.Stale()
				if stale == nil || !stale.Since.Equal(seen) || !strings.Contains(stale.Why, tt.says) || strings.Contains(stale.Why, longSecret) {
					t.Errorf("stale is %+v, want since %v, and %q", stale, seen, tt.says)
				}
				k.wantKey("sk_live_1")

				if err := os.RemoveAll(k.path); err != nil {
					t.Fatal(err)
				}
				k.write(withKey("sk_live_2"))
				if got := k.refresh(); !strings.Contains(got, "in order again") || k.Store.Stale() != nil {
					t.Errorf("mended: logged %q, stale %v", got, k.Store.Stale())
				}
				k.wantKey("sk_live_2")
			})
		})
	}
}

func TestAnotherProblemIsToldToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t)
		k.write("{")
		k.refresh()
		k.refresh()
		since := k.Store.Stale().Since
		time.Sleep(time.Hour)
		k.write("{}")
		if got := k.refresh(); !strings.Contains(got, "apps: missing") {
			t.Errorf("logged %q, want the other problem", got)
		}
		if stale := k.Store.Stale(); !stale.Since.Equal(since) || !strings.Contains(stale.Why, "apps: missing") {
			t.Errorf("stale is %+v, want since %v and the other problem", stale, since)
		}
		k.write(document("")) // the version that was in force all the time
		if got := k.refresh(); !strings.Contains(got, "in order again") || strings.Contains(got, "a new version") || k.Store.Stale() != nil {
			t.Errorf("undone: logged %q, stale %v", got, k.Store.Stale())
		}
	})
}

func TestAHalfWrittenFileIsNoNews(t *testing.T) {
	k := keep(t)
	next := withKey("sk_live_2")
	for range 2 { // also the second time
		k.write(next[:len(next)/2])
		if got := k.refresh(); got != "" {
			t.Errorf("half written: logged %q", got)
		}
		k.write(next)
		if got := k.refresh(); strings.Contains(got, "ERROR") || strings.Contains(got, "again") || k.Store.Stale() != nil {
			t.Errorf("written: logged %q, stale %v", got, k.Store.Stale())
		}
		k.wantKey("sk_live_2")
	}
}

func TestWarningsOfEveryVersionAreLogged(t *testing.T) {
	k := keep(t)
	weak := strings.Replace(document(""), longSecret, "5ec4e7short", 1)
	k.write(weak)
	if got := k.refresh(); !strings.Contains(got, "apps[0].keys[0].secret") || strings.Contains(got, "5ec4e7short") {
		t.Errorf("logged %q", got)
	}
}

// Run looks every Every, each look has its time, and it ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		texts := make(chan string, 1)
		texts <- document("")
		begin := time.Now()
		var looks []time.Duration
		source := Source{Name: "a test", Every: time.Minute, Read: func(ctx context.Context) ([]byte, error) {
			looks = append(looks, time.Since(begin))
			select {
			case text := <-texts:
				return []byte(text), nil
			case <-ctx.Done():
				return nil, errors.New("no answer")
			}
		}}
		ctx, cancel := context.WithCancel(t.Context())
		d, err := Open(ctx, source, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { defer close(ended); d.Run(ctx, nil) }()
		time.Sleep(time.Minute + readLimit + time.Nanosecond)
		if stale := d.Store.Stale(); stale == nil || stale.Why != "no answer" || !stale.Since.Equal(begin.Add(time.Minute+readLimit)) {
			t.Errorf("a reading that hangs: stale is %+v", stale)
		}
		texts <- withKey("sk_live_2")
		<-d.Store.Replaced()
		if want := []time.Duration{0, time.Minute, 2 * time.Minute}; len(looks) != 3 || looks[1] != want[1] || looks[2] != want[2] {
			t.Errorf("looked at %v, want %v", looks, want)
		}
		synctest.Wait()
		if d.Store.Stale() != nil {
			t.Error("still stale")
		}
		cancel()
		<-ended
	})
}

func TestFileIntervalKeepsThePromise(t *testing.T) {
	if 2*FileInterval > time.Minute {
		t.Error("protocol §7 promises ≤ 60 s, also when one look meets a half-written file")
	}
}

// An operator who asks for the document to be read again hears in any case what came
// of it, and of a broken one at the first look.
func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t)
		reload := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); k.Run(ctx, reload) }()
		for _, step := range []struct{ text, want string }{
			{document(""), "is the one in force"},
			{withKey("sk_live_2"), "a new version of the apps document is in force"},
			{"{", "cannot be used"},
			{"{", "cannot be used"}, // asked again, told again
			{withKey("sk_live_2"), "in order again"},
		} {
			k.write(step.text)
			synctest.Wait()
			k.log.Reset()
			reload <- struct{}{}
			synctest.Wait()
			if got := k.log.String(); !strings.Contains(got, step.want) {
				t.Errorf("%.20s: logged %q, want %q", step.text, got, step.want)
			}
		}
		k.wantKey("sk_live_2")
		cancel()
		<-ended
	})
}

// A document that cannot change says so.
func TestReloadOfAnInlineDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		d, err := open(document(""), slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		reload, ended := make(chan struct{}), make(chan struct{})
		go func() { defer close(ended); d.Run(ctx, reload) }()
		reload <- struct{}{}
		synctest.Wait()
		if !strings.Contains(log.String(), "it cannot change") {
			t.Errorf("logged %q", &log)
		}
		cancel()
		<-ended
	})
}

// A file with secrets that others may read or write is told once, with what to do.
func TestAFileThatOthersCanRead(t *testing.T) {
	for mode, want := range map[os.FileMode]string{
		0o600: "", 0o640: "", 0o660: "", 0o400: "",
		0o644: "can read ", 0o666: "can read and write ", 0o602: "can write ",
	} {
		path := filepath.Join(t.TempDir(), "apps.json")
		if err := os.WriteFile(path, []byte(document("")), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // past the umask
			t.Fatal(err)
		}
		var log bytes.Buffer
		d, err := open(path, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		if mode&0o200 != 0 {
			if err := os.WriteFile(path, []byte(withKey("sk_live_2")), mode); err != nil {
				t.Fatal(err)
			}
			d.Refresh(t.Context())
		}
		got := log.String()
		switch {
		case want == "" && strings.Contains(got, "chmod"):
			t.Errorf("%04o: logged %s", mode, got)
		case want != "" && (strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, want) || !strings.Contains(got, fmt.Sprintf("(mode %04o)", mode)) || !strings.Contains(got, "chmod 600 "+path)):
			t.Errorf("%04o: logged %s", mode, got)
		}
	}
}
