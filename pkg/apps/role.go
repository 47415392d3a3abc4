package apps

// Role is what a secret key may do at all, whatever its actions are (protocol §1).
type Role uint8

// The roles. The zero value is that of a key whose document names none.
const (
	RoleFull   Role = iota // reads and writes
	RoleViewer             // only reads over REST; its tokens are refused
)

// String is the role as the document spells it.
func (r Role) String() string {
	if r == RoleViewer {
		return "viewer"
	}
	return "full"
}

// MarshalText is encoding.TextMarshaler's.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// ParseRole gives the role spelled s. Spelling is exact, in lower case.
func ParseRole(s string) (Role, bool) {
	for _, r := range []Role{RoleFull, RoleViewer} {
		if s == r.String() {
			return r, true
		}
	}
	return 0, false
}
