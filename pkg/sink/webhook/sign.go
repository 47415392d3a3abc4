package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"strings"

	"fleetwire/pkg/sink"
)

// ID is the webhook-id of a batch, the same at each try: the id of a message that is alone, or a
// digest of all ids.
func ID(batch []sink.Message) string {
	if len(batch) == 1 {
		return batch[0].ID
	}
	h := sha256.New()
	for i := range batch {
		_, _ = io.WriteString(h, batch[i].ID+"\n")
	}
	return "batch_" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

// sign is the webhook-signature, one for each key.
func sign(keys [][]byte, id, timestamp string, body []byte) string {
	var signatures []string
	for _, key := range keys {
		h := hmac.New(sha256.New, key)
		_, _ = h.Write([]byte(id + "." + timestamp + "."))
		_, _ = h.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(h.Sum(nil)))
	}
	return strings.Join(signatures, " ")
}
