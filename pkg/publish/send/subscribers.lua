-- How many connections are subscribed to a channel by name, on all nodes.
-- KEYS[1] the set of nodes that have subscribers in the channel's bucket
-- ARGV: the channel, and what precedes a node's name in the key of its counts
-- (those keys lie in the same slot as KEYS[1])
local total = 0
for _, node in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local n = redis.call('HGET', ARGV[2] .. node, ARGV[1])
  if n then
    total = total + tonumber(n)
  elseif redis.call('EXISTS', ARGV[2] .. node) == 0 then
    redis.call('SREM', KEYS[1], node)
  end
end
return total
