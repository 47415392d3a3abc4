package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"fleetwire/pkg/protocol"
)

// readBody reads the whole body of a request that carries JSON. What it refuses
// it refuses before reading, where it can.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if err := checkContentType(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	if r.ContentLength > protocol.MaxBodyBytes {
		return nil, tooLarge()
	}
	if r.Body == nil { // only requests made by hand, as adapters do
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, protocol.MaxBodyBytes))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge()
	}
	if err != nil {
		return nil, protocol.Errorf(protocol.InvalidRequest, "the body ended before it was complete; send it whole")
	}
	return body, nil
}

func tooLarge() error {
	return &statusError{
		http.StatusRequestEntityTooLarge,
		protocol.Errorf(protocol.InvalidRequest, "the body is larger than %d bytes, the most that is taken", protocol.MaxBodyBytes),
	}
}

// checkContentType takes JSON under any of its names, and no header at all:
// the body is then judged by what it is.
func checkContentType(header string) error {
	if header == "" {
		return nil
	}
	kind, params, err := mime.ParseMediaType(header)
	isJSON := kind == "application/json" || strings.HasSuffix(kind, "+json")
	if err != nil || !isJSON {
		return unsupported("the Content-Type %s is not JSON; send Content-Type: application/json", Quote(header))
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return unsupported("the charset %s is not taken; send UTF-8, with Content-Type: application/json", Quote(charset))
	}
	return nil
}

func unsupported(format string, args ...any) error {
	return &statusError{http.StatusUnsupportedMediaType, protocol.Errorf(protocol.InvalidRequest, format, args...)}
}
