package lambda

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-lambda-go/events"

	"fleetwire/functions/internal/api"
)

// Events hands events to an http.Handler: it is a lambda.Handler.
type Events struct {
	Handler http.Handler
	Log     *slog.Logger
}

// shape is as much of an event as tells what it is.
type shape struct {
	Version           string          `json:"version"`
	MultiValueHeaders json.RawMessage `json:"multiValueHeaders"`
	RequestContext    struct {
		ELB  json.RawMessage `json:"elb"`
		HTTP json.RawMessage `json:"http"`
	} `json:"requestContext"`
}

var errUnknownEvent = errors.New("the event is no HTTP request that this function knows; " +
	"it takes those of an ALB target group, of an HTTP API with payload format 2.0 and of a function URL")

// Invoke answers one event with one response event. An error, which Lambda
// counts as the function's, is only for an event that is no HTTP request.
func (e Events) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	var s shape
	if err := json.Unmarshal(payload, &s); err != nil {
		return nil, fmt.Errorf("%w (%w)", errUnknownEvent, err)
	}
	switch {
	case s.RequestContext.ELB != nil:
		var in events.ALBTargetGroupRequest
		if err := json.Unmarshal(payload, &in); err != nil {
			return nil, fmt.Errorf("the event of the load balancer cannot be read: %w", err)
		}
		return marshal(toALB(e.answer(ctx, fromALB(&in)), s.MultiValueHeaders != nil))
	case s.RequestContext.HTTP != nil && strings.HasPrefix(s.Version, "2."):
		var in events.APIGatewayV2HTTPRequest
		if err := json.Unmarshal(payload, &in); err != nil {
			return nil, fmt.Errorf("the event of the HTTP API or function URL cannot be read: %w", err)
		}
		return marshal(toHTTP(e.answer(ctx, fromHTTP(&in))))
	}
	return nil, errUnknownEvent
}

// marshal is json.Marshal but for one thing: that would write each <, > and & of the
// body as six bytes, and Lambda and load balancers bound the event (1 MB).
func marshal(event any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(event); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (e Events) answer(ctx context.Context, m *message) *response {
	r, refused := m.request(ctx)
	if refused != nil {
		w := newResponse()
		api.WriteError(w, &http.Request{Method: m.method, URL: &url.URL{}}, e.Log, refused)
		return w
	}
	return serve(e.Handler, r)
}
