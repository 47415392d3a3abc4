package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"fleetwire/localdev/stack"
	"fleetwire/pkg/apps"
)

// What a node answers an upgrade with, other than 101, is what x-http-refusals
// lists, and it comes with the headers that are named there.
func TestHandshakeRefusals(t *testing.T) {
	d := load(t, asyncAPI)
	directory, err := apps.Parse([]byte(`{"apps":[{"id":"app_api","limits":{"connectsPerAddressPerMin":1},"keys":[{"id":"pk_live_api","channelPatterns":["**"],"actions":["subscribe"]}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	node, err := stack.New(ctx, stack.Options{Listen: "127.0.0.1:0", Apps: apps.NewStore(directory), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- node.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()

	const key = "?key=pk_live_api"
	var seen []string
	get := func(query string, upgrade bool) *http.Response {
		r, err := http.NewRequest("GET", "http://"+node.Node.Addr()+"/v1"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if upgrade {
			for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
				r.Header.Set(name, value)
			}
		}
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if answer.StatusCode != http.StatusSwitchingProtocols {
			var body struct{ Error, Message string }
			text, _ := io.ReadAll(answer.Body)
			if err := json.Unmarshal(text, &body); err != nil || body.Message == "" {
				t.Errorf("%d %s: %v", answer.StatusCode, text, err)
			}
			seen = append(seen, fmt.Sprintf("%d %s", answer.StatusCode, body.Error))
		}
		return answer
	}
	if upgrade := get(key, false).Header.Get("Upgrade"); upgrade != "websocket" {
		t.Errorf("426 with Upgrade: %q", upgrade)
	}
	get(key+"&key=pk_other", true)
	get(key, true)
	if retryAfter := get(key, true).Header.Get("Retry-After"); retryAfter == "" {
		t.Error("429 without Retry-After")
	}

	var documented []string
	list, _ := d.at("channels", "socket", "x-http-refusals").([]any)
	for _, item := range list {
		refusal := item.(map[string]any)
		documented = append(documented, fmt.Sprintf("%v %v", refusal["status"], refusal["error"]))
		if refusal["status"] == http.StatusTooManyRequests && !strings.Contains(refusal["when"].(string), fmt.Sprintf("more than %d connects", apps.DefaultLimits().ConnectsPerAddressPerMin)) {
			t.Errorf("the limit is not %v", refusal["when"])
		}
	}
	slices.Sort(seen)
	if problems := differences("refusals", documented, seen); len(problems) > 0 {
		t.Error(strings.Join(problems, "\n"))
	}
}
