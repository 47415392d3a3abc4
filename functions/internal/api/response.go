package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
)

// WriteJSON answers 200 with v as compact JSON. `<`, `>` and `&` stay as they
// are: channel names come back as they were sent. On an error nothing has been
// written.
func WriteJSON(w http.ResponseWriter, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode the response: %w", err)
	}
	Write(w, http.StatusOK, bytes.TrimSuffix(b.Bytes(), []byte("\n")))
	return nil
}

// Write answers with a body that is JSON.
func Write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store") // responses hold tokens
	w.WriteHeader(status)
	// A failed write means that the caller is gone.
	_, _ = w.Write(body)
}
