package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"fleetwire/clients/go/protocol"
)

// REST makes the requests of a backend that holds a secret key (protocol §5). It is
// safe for use by several goroutines. A refused request is an *Error, with the HTTP
// status and, where the service asks for a pause (429), RetryAfter.
type REST struct {
	BaseURL   string // as Options.URL
	SecretKey string // <id>:<secret> or <id>_secret_<secret>

	// HTTPClient is nil for one that gives a request 15 s and follows no redirect,
	// which would take the secret key to another place.
	HTTPClient *http.Client
}

var defaultHTTPClient = &http.Client{
	Timeout:       15 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// TokenRequest says what a token allows (protocol §3). A field that is left out is
// as the key has it: narrow it, or a device may do all that the key may.
type TokenRequest struct {
	Peer         string        // the peer's id
	Channels     []string      // patterns; nil: the key's own; empty: none
	Permissions  []string      // publish, subscribe, presence, send; nil: the key's own
	TTL          time.Duration // whole seconds up to 24 h; 0: an hour
	Metadata     any           // a JSON object for the peer itself, in its welcome; nil: none
	PeerMetadata any           // a JSON object to show to others; nil: none
}

// MintToken gets a token for a peer.
func (r *REST) MintToken(ctx context.Context, req TokenRequest) (token string, expiresAt time.Time, err error) {
	if req.TTL < 0 || req.TTL%time.Second != 0 {
		return "", time.Time{}, fmt.Errorf("client: the TTL is %v; it must be whole seconds", req.TTL)
	}
	body := map[string]any{"peerId": req.Peer}
	// nil and empty lists differ, which omitempty can't say.
	if req.Channels != nil {
		body["channels"] = req.Channels
	}
	if req.Permissions != nil {
		body["permissions"] = req.Permissions
	}
	if req.TTL != 0 {
		body["expiresInSec"] = int64(req.TTL / time.Second)
	}
	if err := addObject(body, "metadata", req.Metadata); err != nil {
		return "", time.Time{}, err
	}
	if err := addObject(body, "peerMetadata", req.PeerMetadata); err != nil {
		return "", time.Time{}, err
	}
	var answer struct {
		Token     string
		ExpiresAt int64
	}
	if err := r.post(ctx, "/tokens", protocol.MaxTokenBodyBytes, body, &answer); err != nil {
		return "", time.Time{}, fmt.Errorf("client: mint a token for %q: %w", req.Peer, err)
	}
	if answer.Token == "" {
		return "", time.Time{}, fmt.Errorf("client: mint a token for %q: %w", req.Peer, ErrNotService)
	}
	return answer.Token, time.Unix(answer.ExpiresAt, 0), nil
}

// Tokens is an Options.Token that mints: for a backend that subscribes, too.
func (r *REST) Tokens(req TokenRequest) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		token, _, err := r.MintToken(ctx, req)
		return token, err
	}
}

// Disconnect closes all connections of a peer, on every node, and returns how many
// those were. With revoke, tokens issued to the peer until now, the current second
// included, are refused from now on.
func (r *REST) Disconnect(ctx context.Context, peer string, revoke bool) (closed int64, err error) {
	path := "/peers/" + url.PathEscape(peer)
	if revoke {
		path += "?revoke=true"
	}
	var answer struct{ Closed int64 }
	if err := r.do(ctx, http.MethodDelete, path, nil, &answer); err != nil {
		return 0, fmt.Errorf("client: disconnect %q: %w", peer, err)
	}
	return answer.Closed, nil
}

// Do makes a request that has no method of its own here, and returns the JSON of the answer.
// path is what stands behind /v1, such as /usage; body is any value that encoding/json takes,
// or nil for none. Do sends it once.
func (r *REST) Do(ctx context.Context, method, path string, body any) (answer json.RawMessage, err error) {
	var sent []byte
	if body != nil {
		if sent, err = encode(body); err != nil {
			return nil, err
		}
	}
	if err := r.do(ctx, method, path, sent, &answer); err != nil {
		return nil, fmt.Errorf("client: %s /v1%s: %w", method, path, err)
	}
	return answer, nil
}

func addObject(body map[string]any, name string, object any) error {
	if object == nil {
		return nil
	}
	raw, err := encode(object)
	if err != nil {
		return err
	}
	body[name] = json.RawMessage(raw)
	return nil
}

func (r *REST) post(ctx context.Context, path string, most int, body, answer any) error {
	sent, err := encode(body)
	if err != nil {
		return err
	}
	if len(sent) > most {
		return fmt.Errorf("%w: the body would be %d bytes long; the service takes %d", ErrTooLarge, len(sent), most)
	}
	return r.do(ctx, http.MethodPost, path, sent, answer)
}

// errCut: the answer ended before its end.
var errCut = errors.New("reading the answer")

// do makes one request and reads its answer.
func (r *REST) do(ctx context.Context, method, path string, body []byte, answer any) error {
	base, err := serviceURL(r.BaseURL)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, base.String()+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+r.SecretKey)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	httpClient := r.HTTPClient
	if httpClient == nil {
		httpClient = defaultHTTPClient
	}
	response, err := httpClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusAccepted {
		return refusal(response.StatusCode, response.Header, response.Body)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxFrameBytes))
	if err != nil {
		return fmt.Errorf("%w: %w", errCut, err)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return ErrNotService
	}
	return nil
}
