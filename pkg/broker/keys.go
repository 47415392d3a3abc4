package broker

// Bucket is how the Redis keys begin that belong to the channel. Keys of one
// bucket lie together, so that a script may use them all.
func Bucket(app, channelName string) string { return bucket(app, channelName) }
