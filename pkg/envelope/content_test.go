package envelope

import (
	"strings"
	"testing"
)

func TestParseContent(t *testing.T) {
	for _, data := range []string{"1", `{"from":"x","data":[1]}`, `",\"data\":"`, strings.Repeat("1", 65536)} {
		for _, metadata := range []string{"", `{"name":"K"}`} {
			m := &Message{App: "app", Channel: `c/"x`, From: `p"<`, FromMetadata: []byte(metadata), Data: []byte(data), Connection: 7}
			for name, e := range map[string][]byte{
				"plain":      Encode(ID{1, 2}, m),
				"remembered": append([]byte("\x07epoch,41,1700000000000,60\n"), EncodeRecord(ID{1, 2}, m)...),
			} {
				c, err := ParseContent(e)
				if err != nil || c.From != m.From || string(c.FromMetadata) != metadata || string(c.Data) != data {
					t.Errorf("%s: read %.80q %q %.80q, %v", name, c.From, c.FromMetadata, c.Data, err)
				}
			}
		}
	}
}

// Anybody who can write to Redis can leave any bytes there. ParseContent refuses them, or
// reads them.
func TestHostileContents(t *testing.T) {
	good := Encode(ID{1, 2}, &Message{Channel: "c", From: "p", Data: []byte("1")})
	for n := range good {
		for _, version := range []byte{good[0], rememberedVersion, 2, 255} {
			e := append([]byte{version}, good[1:]...)[:n]
			if c, err := ParseContent(e); err == nil && n < envelopeHeaderSize {
				t.Errorf("%d bytes of version %d are taken for %+v", n, version, c)
			}
		}
	}
	presence := Encode(ID{1, 2}, &Message{To: "peer", From: "p", Data: []byte("1")})
	presence[len(presence)-1] = 0
	_, _ = ParseContent(presence)
}
