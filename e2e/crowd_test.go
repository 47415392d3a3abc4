package e2e

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
)

// crowd is a connection that watches who is in channels, and complains about
// what makes no sense.
type crowd struct {
	*socket
	there          map[string]map[string]string // metadata by channel and peer
	frames, leaves int
}

func watch(s *socket) *crowd { return &crowd{socket: s, there: map[string]map[string]string{}} }

// enter subscribes, and takes the ack and the snapshot behind it.
func (c *crowd) enter(channel string) *crowd {
	c.t.Helper()
	c.acked(`"type":"subscribe","channel":` + quoted(channel))
	c.there[channel] = map[string]string{}
	if left := c.take(c.next()); left != 0 {
		c.t.Fatalf("%s: somebody leaves with the snapshot", c.welcome.PeerID)
	}
	if _, ok := c.there[channel][c.welcome.PeerID]; !ok {
		c.t.Errorf("%s is not in its own snapshot of %s", c.welcome.PeerID, channel)
	}
	return c
}

// take reads a presence frame.
func (c *crowd) take(frame string) (left int) {
	c.t.Helper()
	type peer struct {
		PeerID   string          `json:"peerId"`
		Metadata json.RawMessage `json:"metadata"`
	}
	var p struct {
		Type, Channel string
		Joined, Left  []peer
	}
	if err := json.Unmarshal([]byte(frame), &p); err != nil || p.Type != "presence" || p.Joined == nil || p.Left == nil {
		c.t.Fatalf("%s: got %.500s, want a presence frame", c.welcome.PeerID, frame)
	}
	there, named := c.there[p.Channel]
	if there == nil {
		there = map[string]string{}
		c.there[p.Channel] = there
	}
	c.frames++
	for _, j := range p.Joined {
		if was, ok := there[j.PeerID]; named && ok && was == string(j.Metadata) {
			c.t.Errorf("%s: %s joins %s again", c.welcome.PeerID, j.PeerID, p.Channel)
		}
		there[j.PeerID] = string(j.Metadata)
	}
	for _, l := range p.Left {
		if _, ok := there[l.PeerID]; named && !ok {
			c.t.Errorf("%s: %s leaves %s, where it is not", c.welcome.PeerID, l.PeerID, p.Channel)
		}
		delete(there, l.PeerID)
	}
	c.leaves += len(p.Left)
	return len(p.Left)
}

// list is who is there, as in "a b{…}".
func (c *crowd) list(channel string) string {
	var all []string
	for _, peer := range slices.Sorted(maps.Keys(c.there[channel])) {
		all = append(all, peer+c.there[channel][peer])
	}
	return strings.Join(all, " ")
}

// await takes frames until these are there.
func (c *crowd) await(channel, peers string) {
	c.t.Helper()
	for c.list(channel) != peers {
		frame, err := c.read()
		if err != nil {
			c.t.Fatalf("%s: %s has %q, want %q; then %v", c.welcome.PeerID, channel, c.list(channel), peers, err)
		}
		c.take(frame)
	}
}

// peers is what GET /v1/channels/{channel}/peers says, in the same form.
func (n *node) peers(t testing.TB, key *keyDoc, channel string) string {
	t.Helper()
	var all []string
	for cursor := ""; ; {
		a, err := n.call("GET", "/v1/channels/"+escaped(channel)+"/peers?cursor="+cursor, key.credential(), "")
		if err != nil {
			t.Fatal(err)
		}
		var ok struct {
			Channel string
			Peers   []struct {
				PeerID   string          `json:"peerId"`
				Metadata json.RawMessage `json:"metadata"`
			}
			Cursor *string
		}
		if err := json.Unmarshal([]byte(a.body), &ok); a.status != 200 || err != nil || ok.Channel != channel || ok.Peers == nil || len(ok.Peers) > 500 {
			t.Fatalf("peers of %s: %d %s", channel, a.status, a.body)
		}
		for _, p := range ok.Peers {
			all = append(all, p.PeerID+string(p.Metadata))
		}
		if ok.Cursor == nil {
			return strings.Join(all, " ")
		}
		cursor = *ok.Cursor
	}
}

// wantPeers wants GET to say this, on every node.
func (s *system) wantPeers(key *keyDoc, channel, peers string) {
	s.t.Helper()
	for _, n := range s.nodes {
		if got := n.peers(s.t, key, channel); got != peers {
			s.t.Errorf("GET says %q of %s, want %q", got, channel, peers)
		}
	}
}
