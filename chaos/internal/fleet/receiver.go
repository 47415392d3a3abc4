package fleet

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"fleetwire/chaos/internal/books"
	"fleetwire/clients/go/client"
)

const (
	// hookGroup has a sink, which posts its messages to the Receiver.
	hookGroup = "hook"
	hookLease = 30 * time.Second // the least of a group with a sink
	// A message has hookDeliver deliveries, the last of which comes after about 15 s.
	hookDeliver = 3
	hookKey     = "a key of the fleet's own, 32 bytes"
)

func hookSecret() string { return "whsec_" + base64.StdEncoding.EncodeToString([]byte(hookKey)) }

// A Receiver is the endpoint of a webhook. It can be killed and slowed, and refuses messages that
// are poisonous.
type Receiver struct {
	group *books.Group // of the fleet that has begun

	mu      sync.Mutex
	address string
	server  *http.Server
	slow    bool
	bad     []books.Finding // requests that are not as they should be
}

// NewReceiver starts a Receiver.
func NewReceiver() (*Receiver, error) {
	r := &Receiver{address: "127.0.0.1:0"}
	return r, r.start()
}

// URL is the endpoint's.
func (r *Receiver) URL() string { return "http://" + r.address + "/hook" }

func (r *Receiver) start() error {
	var l net.Listener
	var err error
	for range 50 { // the port may be taken for a moment
		if l, err = net.Listen("tcp", r.address); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	r.address = l.Addr().String()
	s := &http.Server{Handler: http.HandlerFunc(r.serve), ReadHeaderTimeout: answerIn}
	r.mu.Lock()
	r.server = s
	r.mu.Unlock()
	go func() { _ = s.Serve(l) }()
	return nil
}

// kill ends the listener and all connections at once.
func (r *Receiver) kill() {
	r.mu.Lock()
	s := r.server
	r.mu.Unlock()
	_ = s.Close()
}

// Close ends the Receiver.
func (r *Receiver) Close() { r.kill() }

func (r *Receiver) setSlow(slow bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slow = slow
}

// found notes what is not as it should be.
func (r *Receiver) found(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad = append(r.bad, books.Finding{Kind: books.Invented, At: time.Now(), Text: "the webhook: " + err.Error()})
}

func (r *Receiver) findings() []books.Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bad
}

// serve takes a batch.
func (r *Receiver) serve(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	var all []struct {
		ID, Channel, From string
		Data              json.RawMessage
		Attempt           int
	}
	if err := errors.Join(json.Unmarshal(body, &all), signed(request.Header, body)); err != nil {
		r.found(err)
		http.Error(w, "bad", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	slow := r.slow
	r.mu.Unlock()
	if slow {
		switch rand.IntN(4) {
		case 0: // longer than the sink waits
			select {
			case <-time.After(20 * time.Second):
			case <-request.Context().Done():
			}
		case 1:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		default:
			time.Sleep(rand.N(2 * time.Second))
		}
	}
	status := http.StatusOK
	for _, m := range all {
		n := read(client.Message{Data: m.Data, From: m.From})
		r.group.Handed(time.Now(), n.Writer, m.Channel, n.N, m.Attempt)
		if n.Poison {
			status = http.StatusBadRequest
		}
	}
	w.WriteHeader(status)
}

// signed checks the signature of a request, as Standard Webhooks has it.
func signed(h http.Header, body []byte) error {
	mac := hmac.New(sha256.New, []byte(hookKey))
	mac.Write([]byte(h.Get("webhook-id") + "." + h.Get("webhook-timestamp") + "."))
	mac.Write(body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for one := range strings.FieldsSeq(h.Get("webhook-signature")) {
		if one == want && h.Get("webhook-id") != "" {
			return nil
		}
	}
	return errors.New("the signature " + h.Get("webhook-signature") + " is not " + want)
}
