package envelope

import (
	"strings"

	"fleetwire/clients/go/protocol"
)

// Content is what a message says, and who sent it. Its slices alias what it was read from.
type Content struct {
	From         string
	FromMetadata []byte // JSON object, or empty
	Data         []byte
}

// ParseContent reads the content of a message to a channel, remembered or not.
func ParseContent(e []byte) (Content, error) {
	if len(e) > 0 && e[0] == rememberedVersion {
		r, err := ParseRemembered(e)
		return Content{r.From, r.FromMetadata, r.Data}, err
	}
	var d Delivery
	if len(e) == 0 || e[0] != envelopeVersion {
		return Content{}, errEnvelope
	}
	if err := d.Decode(e); err != nil {
		return Content{}, err
	}
	body := d.body()
	head := strings.TrimSuffix(string(body[:len(body)-d.tail-d.dataLen]), `,"data":`) + "}"
	c := Content{FromMetadata: d.FromMetadata, Data: d.Data()}
	found := false
	err := protocol.ScanObject([]byte(head), func(name string, raw []byte) (err error) {
		if name == "from" {
			found = true
			c.From, err = protocol.DecodeString(raw)
		}
		return err
	})
	if err != nil || !found {
		return Content{}, errEnvelope
	}
	return c, nil
}
