// Godriver is the driver of the Go client, fleetwire/clients/go/client, for the clients' suite:
// clients/suite/README.md has the protocol.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"

	"fleetwire/clients/go/client"
)

func main() {
	d := &driver{out: json.NewEncoder(os.Stdout), peers: map[string]*peer{}}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 8<<20)
	var working sync.WaitGroup
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			fmt.Fprintf(os.Stderr, "a request that can't be read: %v\n", err)
			os.Exit(2)
		}
		working.Go(func() { d.answer(&r) })
	}
	d.closeAll()
	working.Wait()
}

// driver has all clients, by the names that the runner gives them.
type driver struct {
	mu    sync.Mutex // also of out
	out   *json.Encoder
	peers map[string]*peer
}

// object is a JSON object.
type object = map[string]any

// request has the fields of all requests.
type request struct {
	ID     int    `json:"id"`
	Do     string `json:"do"`
	Client string `json:"client"`
	URL    string `json:"url"`
	Key    string `json:"key"`

	TokenServer string `json:"tokenServer"`
	Token       string `json:"token"`

	Channel        string           `json:"channel"`
	Data           json.RawMessage  `json:"data"`
	To             string           `json:"to"`
	From           string           `json:"from"`
	IdempotencyKey string           `json:"idempotencyKey"`
	If             *client.Position `json:"if"`
	Since          *client.Position `json:"since"`
	Last           int              `json:"last"`
	Presence       bool             `json:"presence"`
	Metadata       bool             `json:"metadata"`
	Confirm        bool             `json:"confirm"`
	Mode           string           `json:"mode"`
	DelayMs        int64            `json:"delayMs"`

	Group      string   `json:"group"`
	Max        int      `json:"max"`
	WaitMs     int64    `json:"waitMs"`
	AckIDs     []string `json:"ackIds"`
	TTLMs      int64    `json:"ttlMs"`
	TimeoutMs  int64    `json:"timeoutMs"`
	Expect     int      `json:"expect"`
	Command    string   `json:"command"`
	Peer       string   `json:"peer"`
	Channels   []string `json:"channels"`
	Permission []string `json:"permissions"`
	TTLSec     int64    `json:"ttlSec"`
	Online     *bool    `json:"online"`
	Prefix     string   `json:"prefix"`
	Revoke     bool     `json:"revoke"`
}

func (d *driver) write(line object) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_ = d.out.Encode(line) // where it fails, the runner is gone
}

func (d *driver) peer(name string) *peer {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.peers[name]
}

func (d *driver) closeAll() {
	d.mu.Lock()
	peers := d.peers
	d.peers = nil
	d.mu.Unlock()
	for _, p := range peers {
		p.close()
	}
}

// answer does what a request asks, and answers it.
func (d *driver) answer(r *request) {
	answer, err := d.do(r)
	if err != nil {
		answer = object{"error": codeOf(err), "message": err.Error()}
		if refused, ok := errors.AsType[*client.Error](err); ok && refused.Position != nil {
			answer["position"] = position(*refused.Position)
		}
	} else {
		if answer == nil {
			answer = object{}
		}
		answer["ok"] = true
	}
	answer["id"] = r.ID
	d.write(answer)
}

// codeOf is an error in a word.
func codeOf(err error) string {
	switch {
	case client.CodeOf(err) != "":
		return string(client.CodeOf(err))
	case errors.Is(err, client.ErrTooLarge):
		return "too_large"
	case errors.Is(err, client.ErrConnectionLost):
		return "connection_lost"
	case errors.Is(err, client.ErrClosed):
		return "closed"
	case client.CloseCodeOf(err) != 0:
		return "stopped"
	default:
		return "other"
	}
}

func position(p client.Position) object { return object{"epoch": p.Epoch, "offset": p.Offset} }

func (d *driver) do(r *request) (object, error) {
	ctx := context.Background()
	if act, ok := restActs[r.Do]; ok {
		return act(ctx, &client.REST{BaseURL: r.URL, SecretKey: r.Key}, r)
	}
	if r.Do == "connect" {
		return nil, d.connect(r)
	}
	p := d.peer(r.Client)
	if p == nil {
		return nil, fmt.Errorf("there is no client %q", r.Client)
	}
	if act, ok := peerActs[r.Do]; ok {
		return act(ctx, p, r)
	}
	return nil, fmt.Errorf("%q is nothing that this driver does", r.Do)
}
