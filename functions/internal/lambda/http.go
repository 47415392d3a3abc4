package lambda

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-lambda-go/events"
)

// fromHTTP reads an event of payload format 2.0: of an HTTP API or a function URL.
func fromHTTP(e *events.APIGatewayV2HTTPRequest) *message {
	header := http.Header{}
	for name, value := range e.Headers {
		header.Add(name, value)
	}
	if len(e.Cookies) > 0 {
		header.Set("Cookie", strings.Join(e.Cookies, "; "))
	}
	context := e.RequestContext
	path := e.RawPath
	if !strings.Contains(context.DomainName, ".lambda-url.") {
		path = fromAPIPath(path, context.Stage)
	}
	return &message{
		method: context.HTTP.Method, path: path, query: e.RawQueryString, header: header,
		host: context.DomainName, remote: context.HTTP.SourceIP, body: e.Body, isBase64: e.IsBase64Encoded,
	}
}

// fromAPIPath takes off what an HTTP API puts before the path, the name of the
// stage, and undoes what it does to the path: it decodes it, despite its name
// rawPath says. Which slashes were escaped cannot be known any more; the handlers
// take both (protocol §5). A percent sign is one.
func fromAPIPath(rawPath, stage string) string {
	if stage != "" && stage != "$default" {
		if rest, ok := strings.CutPrefix(rawPath, "/"+stage); ok && (rest == "" || rest[0] == '/') {
			rawPath = rest
		}
	}
	return (&url.URL{Path: rawPath}).EscapedPath()
}

// toHTTP answers in payload format 2.0, which has a place of its own for cookies.
func toHTTP(w *response) any {
	cookies := w.sent.Values("Set-Cookie")
	w.sent.Del("Set-Cookie")
	out := events.LambdaFunctionURLResponse{StatusCode: w.status, Headers: w.single(), Cookies: cookies}
	out.Body, out.IsBase64Encoded = w.text()
	return out
}
