package auth

import (
	"log/slog"
	"strings"
)

// Credential is a secret key as presented: its id and its secret.
type Credential struct{ ID, Secret string }

// ParseCredential reads either spelling of a secret credential (protocol §1):
// "<id>:<secret>", divided at the first ':', and, if there is no ':' at all,
// "<id>_secret_<secret>", divided at the first "_secret_". It is false when
// either part is empty: an id alone is never enough.
func ParseCredential(s string) (Credential, bool) {
	id, secret, found := strings.Cut(s, ":")
	if !found {
		id, secret, found = strings.Cut(s, "_secret_")
	}
	if !found || id == "" || secret == "" {
		return Credential{}, false
	}
	return Credential{ID: id, Secret: secret}, true
}

// String shows the id alone: "<id>:[redacted]".
func (c Credential) String() string { return c.ID + ":[redacted]" }

// GoString keeps the secret out of %#v.
func (c Credential) GoString() string { return "auth.Credential(" + c.String() + ")" }

// LogValue keeps the secret out of structured logs.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }
