-- Finds the channels of a bucket whose oldest messages may have expired. deadline.lua stands
-- before this.
-- KEYS: [1] INDEX, [2] DUE, [3] BYTES
-- ARGV: how many channels at most
-- Returns them. If there are none, it says when the next expires.
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', due_time(), 'LIMIT', 0, ARGV[1])
if #found == 0 then
  local next = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
  if next[2] then
    due_set(KEYS[2], 'ttl', math.max(next[2], due_time() + 1000))
  else
    due_clear(KEYS[2], 'ttl')
    redis.call('DEL', KEYS[3])
  end
end
return found
