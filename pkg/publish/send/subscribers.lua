-- count_subscribers says how many connections are subscribed to a channel by name, on all
-- nodes. nodes is the set of nodes that have subscribers in the channel's bucket, and
-- prefix what precedes a node's name in the key of its counts. Those lie in the same slot.
local function count_subscribers(nodes, channel, prefix)
  local total = 0
  for _, node in ipairs(redis.call('SMEMBERS', nodes)) do
    local n = redis.call('HGET', prefix .. node, channel)
    if n then
      total = total + tonumber(n)
    elseif redis.call('EXISTS', prefix .. node) == 0 then
      redis.call('SREM', nodes, node)
    end
  end
  return total
end
