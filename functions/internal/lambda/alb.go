package lambda

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

// fromALB reads the event of a load balancer, whose target group sends each
// header and query parameter with one value or with all of them.
func fromALB(e *events.ALBTargetGroupRequest) *message {
	header := http.Header{}
	for name, value := range e.Headers {
		header.Add(name, value)
	}
	for name, values := range e.MultiValueHeaders {
		for _, value := range values {
			header.Add(name, value)
		}
	}
	query := map[string][]string{}
	for name, value := range e.QueryStringParameters {
		query[name] = []string{value}
	}
	maps.Copy(query, e.MultiValueQueryStringParameters)
	return &message{
		method: e.HTTPMethod, path: e.Path, query: joinQuery(query), header: header,
		remote: lastForwarded(header), body: e.Body, isBase64: e.IsBase64Encoded,
	}
}

// joinQuery puts a query string together again. The load balancer took it apart
// without decoding it, so nothing is encoded here.
func joinQuery(query map[string][]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(query)) {
		for _, value := range query[name] {
			pairs = append(pairs, name+"="+value)
		}
	}
	return strings.Join(pairs, "&")
}

// toALB answers in the form of the event: with multi-value headers a balancer
// reads only multiValueHeaders, and without them only headers.
func toALB(w *response, multiValue bool) any {
	out := events.ALBTargetGroupResponse{
		StatusCode:        w.status,
		StatusDescription: strconv.Itoa(w.status) + " " + http.StatusText(w.status),
	}
	if multiValue {
		out.MultiValueHeaders = w.sent
	} else {
		out.Headers = w.single()
	}
	out.Body, out.IsBase64Encoded = w.text()
	return out
}
