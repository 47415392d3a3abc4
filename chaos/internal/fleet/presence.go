package fleet

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/clients/go/client"
	"fleetwire/clients/go/protocol"
)

const retryMeet = 200 * time.Millisecond

// Churn has some devices go and some come, while a fault lasts or right behind it.
func (f *Fleet) Churn() {
	f.mu.Lock()
	leaving := slices.Clone(f.comers)
	f.comers = nil
	f.mu.Unlock()
	for _, d := range leaving {
		go d.leave()
	}
	for range f.Size.Comers {
		f.mu.Lock()
		f.came++
		peer, group, home := fmt.Sprintf("comer-%d", f.came), f.came%f.Size.Groups, f.came
		f.mu.Unlock()
		d, err := f.device(mainApp, peer, f.route(home), nil, nil)
		if err != nil {
			continue // the options are the same for all
		}
		f.add(d)
		f.mu.Lock()
		f.comers = append(f.comers, d)
		f.mu.Unlock()
		go d.meet(group)
	}
}

// meet subscribes to a group's channel. It waits for a connection as long as it takes, and tries
// again what is refused while the fault lasts.
func (d *device) meet(group int) {
	for d.client.Subscribe(d.f.ctx, meet(group), func(client.Message) {}) != nil {
		select {
		case <-d.f.ctx.Done():
			return
		case <-d.client.Done():
			return
		case <-time.After(retryMeet):
		}
	}
}

// present is who is in a group's channel.
func (f *Fleet) present() (channels map[string][]string, online []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	channels = map[string][]string{}
	for peer, d := range f.devices {
		online = append(online, peer)
		var group int
		switch {
		case strings.HasPrefix(peer, "device-"):
			_, _ = fmt.Sscanf(peer, "device-%d-", &group)
		case slices.Contains(f.comers, d):
			_, _ = fmt.Sscanf(peer, "comer-%d", &group)
			group %= f.Size.Groups
		default:
			continue
		}
		channels[meet(group)] = append(channels[meet(group)], peer)
	}
	return channels, online
}

// AwaitPresence waits until members, the registry and what watchers are shown are as they
// should be. It returns the differences that are left by then.
func (f *Fleet) AwaitPresence(patience time.Duration) (at time.Time, found []books.Finding) {
	deadline := time.Now().Add(patience)
	again := time.NewTicker(300 * time.Millisecond)
	defer again.Stop()
	for {
		found = f.presence()
		if len(found) == 0 || time.Now().After(deadline) || f.ctx.Err() != nil {
			return time.Now(), found
		}
		<-again.C
	}
}

func (f *Fleet) presence() (found []books.Finding) {
	ctx, cancel := context.WithTimeout(f.ctx, answerIn)
	defer cancel()
	channels, online := f.present()
	for _, channel := range slices.Sorted(maps.Keys(channels)) {
		members, err := f.rest.Members(ctx, channel)
		if err != nil {
			return append(found, books.Finding{Kind: books.Missing, At: time.Now(), Text: fmt.Sprintf("GET …/%s/peers: %v", channel, err)})
		}
		var shown []string
		for _, m := range members {
			shown = append(shown, m.Peer)
		}
		found = append(found, compare("in "+channel, channels[channel], shown)...)
	}
	yes := true
	var shown []string
	for p, err := range f.rest.Peers(ctx, client.PeerQuery{Online: &yes}) {
		if err != nil {
			return append(found, books.Finding{Kind: books.Missing, At: time.Now(), Text: fmt.Sprintf("GET /v1/peers: %v", err)})
		}
		if !strings.HasPrefix(p.ID, framesName) {
			shown = append(shown, p.ID)
		}
	}
	found = append(found, compare("online", online, shown)...)
	for _, w := range f.watchers {
		w.mu.Lock()
		there := slices.Collect(maps.Keys(w.there))
		w.mu.Unlock()
		found = append(found, compare("in "+w.channel+", as "+w.device.peer+" is shown,", channels[w.channel], there)...)
	}
	return found
}

// compare finds who is shown and not there, and the other way round.
func compare(where string, there, shown []string) (found []books.Finding) {
	add := func(k books.Kind, peers, besides []string) {
		for _, p := range peers {
			if !slices.Contains(besides, p) {
				found = append(found, books.Finding{Kind: k, At: time.Now(), Text: fmt.Sprintf("%s %s", p, where)})
			}
		}
	}
	add(books.Ghost, shown, there)
	add(books.Missing, there, shown)
	return found
}

// AwaitAll waits until all devices are connected and subscribed.
func (f *Fleet) AwaitAll(patience time.Duration) (at time.Time, away []string) {
	deadline := time.Now().Add(patience)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		away = away[:0]
		f.mu.Lock()
		for peer, d := range f.devices {
			if _, _, live := d.now(); !live {
				away = append(away, peer)
			}
		}
		f.mu.Unlock()
		if len(away) == 0 || time.Now().After(deadline) || f.ctx.Err() != nil {
			return time.Now(), away
		}
		<-again.C
	}
}

// history asks several times: a Redis on a busy machine may not answer in time.
func (f *Fleet) history(channel string) (h client.History, err error) {
	for range 5 {
		ctx, cancel := context.WithTimeout(f.ctx, answerIn)
		h, err = f.rest.History(ctx, channel, protocol.MaxLast)
		cancel()
		if err == nil {
			break
		}
	}
	return h, err
}

// Remembered has the books know what each channel that remembers does.
func (f *Fleet) Remembered() error {
	for g := range f.Size.Groups {
		history, err := f.history(logOf(g))
		if err != nil {
			return err
		}
		var all []books.Memory
		for _, m := range history.Messages {
			n := read(m)
			all = append(all, books.Memory{Offset: m.Position.Offset, Writer: n.Writer, N: n.N})
		}
		f.books.Remembers(time.Now(), logOf(g), history.Position.Epoch, all)
	}
	return nil
}
