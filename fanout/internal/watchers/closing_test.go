package watchers

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fleetwire/pkg/presence"
)

// crowd is a channel where peers and connections come and go at random.
type crowd struct {
	*world
	acting chan struct{} // has room for one: one thing happens at a time
	rnd    *rand.Rand
	peers  int // that may be there
	most   int // of them
	acts   []func()
	there  []*watcher
	gone   map[*watcher]int // frames that they had been given by then
	last   uint64
}

const crowded = "c"

func (c *crowd) peer() string { return fmt.Sprintf("p%04d", c.rnd.IntN(c.peers)) }

func (c *crowd) isThere(peer string) bool {
	_, there := c.members()[peer]
	return there
}

func (c *crowd) members() map[string]string {
	if s := c.channels[presence.ChannelID{App: app, Channel: crowded}]; s != nil {
		return s.members
	}
	return nil
}

// changes are of n peers at most; about as many come as go.
func (c *crowd) changes(n int) (all []string) {
	there := len(c.members())
	for _, i := range c.rnd.Perm(c.peers)[:n] {
		peer := fmt.Sprintf("p%04d", i)
		switch isThere := c.isThere(peer); {
		case isThere && c.rnd.IntN(3) == 0:
			all = append(all, fmt.Sprintf(`+%s{"n":%d}`, peer, c.rnd.IntN(10)))
		case isThere:
			all = append(all, "-"+peer)
			there--
		case there < c.most:
			all = append(all, "+"+peer)
			there++
		}
	}
	return all
}

// enters has a connection watch, whose peer joins.
func (c *crowd) enters() {
	c.last++
	o := c.world.watcher(c.last)
	c.there = append(c.there, o)
	peer := c.peer()
	c.watchers.Watch(o, app, crowded)
	v := presence.Version{}
	if len(c.members()) < c.most {
		v = c.do(crowded, "+"+peer)
	}
	c.watchers.Ready(o, app, crowded, v)
}

func (c *crowd) leaves() {
	if len(c.there) < 2 {
		return
	}
	i := c.rnd.IntN(len(c.there))
	o := c.there[i]
	c.there = append(c.there[:i], c.there[i+1:]...)
	c.watchers.Unwatch(o, app, crowded)
	c.gone[o] = o.given()
}

// given is how many frames the connection was given.
func (o *watcher) given() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queued) + len(o.frames)
}

func (c *crowd) changesOne()  { c.do(crowded, c.changes(1)...) }
func (c *crowd) changesMany() { c.do(crowded, c.changes(3*large)...) }

// turnsOver has all who are there leave, and as many others as may be join.
func (c *crowd) turnsOver() {
	var leave, join []string
	for i := range c.peers {
		peer := fmt.Sprintf("p%04d", i)
		if c.isThere(peer) {
			leave = append(leave, "-"+peer)
		} else {
			join = append(join, "+"+peer)
		}
	}
	c.rnd.Shuffle(len(join), func(i, j int) { join[i], join[j] = join[j], join[i] })
	c.do(crowded, append(leave, join[:min(c.most, len(join))]...)...)
}

// misses has announcements get lost, so that the view is loaded again.
func (c *crowd) misses() {
	c.set(func() { c.loses = true })
	c.changesMany()
	c.set(func() { c.loses = false })
	c.changesOne()
}

// sends has a peer that is there send to the others, who must have been shown it.
func (c *crowd) sends() {
	peer := c.peer()
	c.watchers.Precede(direct(peer, "1"))
	if len(c.members()) > few || !c.isThere(peer) {
		return
	}
	for _, o := range c.there {
		o.Flush()
		o.mu.Lock()
		if shown := o.shown[crowded]; shown != nil {
			if _, there := shown[peer]; !there {
				c.t.Errorf("connection %d hears from %s, and was not shown that it is there", o.id, peer)
			}
		}
		o.mu.Unlock()
	}
}

// act has one thing happen.
func (c *crowd) act() {
	c.acting <- struct{}{}
	defer func() { <-c.acting }()
	c.acts[c.rnd.IntN(len(c.acts))]()
}

// actMeanwhile has something happen as soon as a window is encoded without the lock.
func (c *crowd) actMeanwhile(happened *int) {
	c.meanwhile(func() {
		*happened++
		began := make(chan struct{})
		go func() {
			close(began)
			c.act()
		}()
		<-began
		time.Sleep(time.Microsecond) // until it has happened, or waits for the window
	})
}

// In a channel where much is encoded and compared without the lock, each connection
// knows in the end what is, was shown nothing twice, and was given nothing after it
// had left. In a small one it has been shown each peer that it hears from.
func TestCrowdAgainstAModel(t *testing.T) {
	for _, tt := range []struct {
		name        string
		peers, most int
		acts        func(c *crowd) []func()
	}{
		{"large", 5 * large, 5 * large, func(c *crowd) []func() {
			return []func(){c.enters, c.leaves, c.changesOne, c.changesOne, c.changesMany, c.misses, c.watchers.Restored, c.sends}
		}},
		{"small", 5 * large, few - 2, func(c *crowd) []func() {
			return []func(){c.enters, c.leaves, c.changesOne, c.changesOne, c.changesMany, c.sends, c.sends, c.sends}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			inBubble(t, func(t *testing.T, w *world) {
				c := &crowd{world: w, rnd: rand.New(rand.NewPCG(seed, 1)), peers: tt.peers, most: tt.most, acting: make(chan struct{}, 1), gone: map[*watcher]int{}}
				c.acts = tt.acts(c)
				c.enters()
				happened := 0
				for range 40 {
					c.actMeanwhile(&happened)
					for range 4 {
						c.act()
					}
					c.acting <- struct{}{}
					c.turnsOver()
					c.turnsOver()
					<-c.acting
					time.Sleep(3 * window)
					synctest.Wait()
				}
				if happened < 10 {
					t.Errorf("%d windows were encoded without the lock", happened)
				}
				time.Sleep(settling + 3*window)
				synctest.Wait()
				for _, o := range c.there {
					w.wantTruth(o, crowded)
				}
				for o, n := range c.gone {
					if o.given() != n {
						t.Errorf("connection %d was given %d frames after it had left", o.id, o.given()-n)
					}
				}
				if n := w.watchers.countJoining(); n != 0 {
					t.Errorf("%d peers have joined, and wait for the end of a window", n)
				}
			})
		})
	}
}

// A peer that is in a frame which is just being encoded may send nothing that overtakes
// that: neither one that joins in this window, nor one that joins meanwhile.
func TestNothingOvertakesAWindowThatIsBeingClosed(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", fleet(2*large)...)
		o, newcomer := w.watcher(1), w.watcher(2)
		w.watch(o, "c")
		pass()
		o.clear()
		var sent sync.WaitGroup
		w.meanwhile(func() {
			w.do("c", "+second")
			for _, from := range []string{"first", "second", "p0000"} {
				frame := direct(from, "1")
				sent.Go(func() {
					w.watchers.Precede(frame)
					o.Flush()
					o.mu.Lock()
					defer o.mu.Unlock()
					o.lines = append(o.lines, "from "+from)
				})
			}
			time.Sleep(time.Microsecond) // all wait, or have overtaken
		})
		w.do("c", append(leaving(2*large), "+first")...)
		w.watch(newcomer, "c")
		time.Sleep(3 * window)
		synctest.Wait()
		sent.Wait()
		w.happened()
		all := strings.Join(o.lines, "\n")
		for _, name := range []string{"first", "second"} {
			shown, heard := strings.Index(all, "+"+name), strings.Index(all, "from "+name)
			if shown < 0 || heard < 0 || heard < shown {
				t.Errorf("of %s the connection was shown\n%s", name, all)
			}
		}
		w.wantTruth(o, "c")
		w.wantTruth(newcomer, "c")
	})
}

// A view that is loaded again while its snapshot is encoded, and while changes come,
// shows all that once.
func TestLoadedAgainWhileASnapshotIsEncoded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.do("c", fleet(3*large)...)
		before, newcomer := w.watcher(1), w.watcher(2)
		w.watch(before, "c")
		pass()
		before.clear()
		w.meanwhile(func() {
			w.set(func() { w.loses = true })
			w.do("c", "-p0001", "+lost")
			w.set(func() { w.loses = false })
			w.watchers.Restored()
			w.do("c", "-p0002")
			time.Sleep(window / 4) // it would have been loaded
		})
		w.do("c", "+x")
		w.watch(newcomer, "c")
		time.Sleep(3 * window)
		synctest.Wait()
		w.happened()
		changes := "c: +lost -p0001 -p0002"
		before.want("c: +x", changes)
		if n := len(newcomer.lines); n != 2 || newcomer.lines[1] != changes {
			t.Errorf("the newcomer was shown %d frames: %q", n, newcomer.lines[1:])
		}
		w.wantTruth(before, "c")
		w.wantTruth(newcomer, "c")
	})
}

// manyJoin is an announcement that many peers join a channel.
func manyJoin(n int) (a presence.Announcement) {
	a.Version = presence.Version{Incarnation: 1, Number: 1}
	for i := range n {
		a.Changes = append(a.Changes, presence.Change{Kind: presence.Joined, Member: presence.Member{Peer: fmt.Sprintf("p%04d", i)}})
	}
	return a
}

// applyPart applies a part of an announcement.
func (w *world) applyPart(v *view) (more bool) {
	w.watchers.mu.Lock()
	defer w.watchers.mu.Unlock()
	before := len(v.members)
	more = w.watchers.applyNext(v)
	if n := len(v.members) - before; n > appliedAtOnce {
		w.t.Errorf("%d changes were applied at once", n)
	}
	return more
}

// HOSTILE: announcements of many changes, which one connection alone watches. The lock
// is free after every few of them. A newcomer gets its snapshot when all are applied.
func TestAnnouncementIsAppliedInParts(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		o, newcomer := w.watcher(1), w.watcher(2)
		w.watch(o, "c")
		pass()
		o.clear()
		const many = 8 * appliedAtOnce
		v := w.watchers.take(presence.ChannelID{App: app, Channel: "c"}, manyJoin(many))
		w.applyPart(v)
		w.watch(newcomer, "c")
		synctest.Wait()
		newcomer.want()
		for w.applyPart(v) {
		}
		pass()
		for _, o := range []*watcher{o, newcomer} {
			if n := len(o.shown["c"]); n != many {
				t.Errorf("connection %d was shown %d peers", o.id, n)
			}
		}
		if n := len(newcomer.lines); n != 1 {
			t.Errorf("the newcomer was shown them in %d frames", n)
		}
	})
}

// A view that is loaded again while an announcement is applied does not get the rest of
// that: it may be older.
func TestLoadedWhileAnAnnouncementIsApplied(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		o := w.watcher(1)
		w.watch(o, "c")
		pass()
		v := w.watchers.take(presence.ChannelID{App: app, Channel: "c"}, manyJoin(2*appliedAtOnce))
		w.applyPart(v)
		w.set(func() { w.loses = true })
		w.do("c", fleet(2*appliedAtOnce)...)
		w.do("c", fmt.Sprintf("-p%04d", 2*appliedAtOnce-1))
		w.set(func() { w.loses = false })
		w.watchers.mu.Lock()
		w.watchers.load(v)
		w.watchers.mu.Unlock()
		pass()
		w.wantTruth(o, "c")
	})
}

// HOSTILE: the only watcher of a large channel, of which everything has changed while
// the link to Redis was lost. All is encoded without the lock.
func TestOnlyWatcherOfALargeChannel(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		const many = 20 * large
		w.do("c", fleet(many)...)
		o := w.watcher(1)
		w.meanwhile(func() { w.watchers.Views() }) // needs the lock
		w.watch(o, "c")
		pass()
		w.happened()
		w.wantTruth(o, "c")
		o.clear()
		w.set(func() { w.loses = true })
		changes := fleet(many)
		for i, c := range changes {
			switch i % 3 {
			case 0:
				changes[i] = "-" + c[1:]
			case 1:
				changes[i] += `{"k":1}`
			}
		}
		w.do("c", changes...)
		w.set(func() { w.loses = false })
		w.meanwhile(func() { w.watchers.Views() })
		w.watchers.Restored()
		pass()
		pass()
		w.happened()
		w.wantTruth(o, "c")
	})
}

// HOSTILE: connections that watch very many patterns. The lock is free while those are
// looked for that match, and others come and go.
func TestManyPatterns(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		watch := func(o *watcher, pattern string) {
			must(t, w.watchers.WatchPattern(o, app, mustCompile(t, pattern), none))
		}
		hostile, stays, leaves, comes := w.watcher(1), w.watcher(2), w.watcher(3), w.watcher(4)
		for i := range 2 * large {
			watch(hostile, fmt.Sprintf("*a*b*%d", i))
		}
		for _, o := range []*watcher{stays, leaves} {
			watch(o, "c*")
		}
		watch(leaves, "*")
		w.meanwhile(func() {
			w.watchers.UnwatchPattern(hostile, app, mustCompile(t, "*a*b*7"))
			for _, p := range []string{"c*", "*"} {
				w.watchers.UnwatchPattern(leaves, app, mustCompile(t, p))
			}
			watch(comes, "**")
		})
		w.do("c", "+x")
		pass()
		w.happened()
		stays.want("c: +x")
		leaves.want()
		comes.want()
		w.do("c", "+y")
		pass()
		stays.want("c: +y")
		comes.want("c: +y")
		hostile.want()
		leaves.want()
	})
}
