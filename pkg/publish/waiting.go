package publish

import (
	"strings"

	"fleetwire/clients/go/protocol"
	"fleetwire/pkg/publish/send"
)

// full is the error for a message for which a group has no room.
func full(o *send.Outgoing) *protocol.Error {
	var names []string
	for _, g := range o.Groups {
		if !g.DropOldest { // it always has room
			names = append(names, g.Name)
		}
	}
	if len(names) == 1 {
		return protocol.Errorf(protocol.GroupFull, "the group %s has no room for the message; nothing was published", names[0])
	}
	return protocol.Errorf(protocol.GroupFull, "one of the groups %s has no room for the message; nothing was published", strings.Join(names, ", "))
}
