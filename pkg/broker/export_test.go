package broker

import "fleetwire/pkg/rediskeys"

// MessagesTopic is the Redis channel of a channel's messages.
func MessagesTopic(app, name string) string {
	return rediskeys.Namespace{}.Topic(KindMessages, app, name)
}
