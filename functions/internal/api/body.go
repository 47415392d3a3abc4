package api

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"fleetwire/clients/go/protocol"
)

// readBody reads the whole body of a request that carries JSON, of most bytes at
// most. It refuses a request before it reads the body if the headers suffice for that.
func readBody(w http.ResponseWriter, r *http.Request, most int64) ([]byte, error) {
	if err := checkContentEncoding(r.Header.Values("Content-Encoding")); err != nil {
		return nil, err
	}
	if err := checkContentType(r.Header.Get("Content-Type")); err != nil {
		return nil, err
	}
	if r.ContentLength > most {
		return nil, tooLarge(most)
	}
	if r.Body == nil { // only requests made by hand, as adapters do
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(most)
	}
	if err != nil {
		return nil, protocol.Errorf(protocol.InvalidRequest, "the body ended before it was complete; send it whole")
	}
	return body, nil
}

func tooLarge(most int64) error {
	return &statusError{
		http.StatusRequestEntityTooLarge,
		protocol.Errorf(protocol.InvalidRequest, "the body is larger than %d bytes, the most that is taken", most),
	}
}

// checkContentEncoding takes bodies as they are: nothing is decompressed.
func checkContentEncoding(codings []string) error {
	for _, coding := range strings.Split(strings.Join(codings, ","), ",") {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
			return unsupported("the Content-Encoding %s is not taken; send the body as it is", Quote(coding))
		}
	}
	return nil
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
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8") {
		return unsupported("the charset %s is not taken; send UTF-8, with Content-Type: application/json", Quote(charset))
	}
	return nil
}

func unsupported(format string, args ...any) error {
	return &statusError{http.StatusUnsupportedMediaType, protocol.Errorf(protocol.InvalidRequest, format, args...)}
}
