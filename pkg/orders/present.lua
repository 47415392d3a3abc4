-- Notes that a node is there, and tells which are.
-- KEYS: [1] sorted set of the nodes, by when each was there last (ms)
-- ARGV: [1] the node ('': none), [2] after how many ms a node counts as gone
-- Returns the nodes, if there is none in ARGV.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now - ARGV[2]))
if ARGV[1] == '' then
  return redis.call('ZRANGE', KEYS[1], 0, -1)
end
redis.call('ZADD', KEYS[1], string.format('%d', now), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {}
