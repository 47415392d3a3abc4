package publish

import (
	"strings"

	"fleetwire/pkg/protocol"
	"fleetwire/pkg/publish/send"
)

// full is why a message is refused that its groups have no room for.
func full(o *send.Outgoing) *protocol.Error {
	names := make([]string, len(o.Groups))
	for i, g := range o.Groups {
		names[i] = g.Name
	}
	if len(names) == 1 {
		return protocol.Errorf(protocol.GroupFull, "the group %s has no room for the message; nothing was published", names[0])
	}
	return protocol.Errorf(protocol.GroupFull, "one of the groups %s has no room for the message; nothing was published", strings.Join(names, ", "))
}
