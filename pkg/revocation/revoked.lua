-- KEYS[1] an app's revocations; ARGV: a peer
-- Returns the unix second up to which its tokens are revoked, '' if none are.
return redis.call('HGET', KEYS[1], ARGV[1]) or ''
