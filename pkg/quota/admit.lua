-- Admits one message that is published elsewhere: takes a token, and counts it. bucket.lua
-- stands before this.
-- KEYS: [1] the counter, [2] the bucket of the key's requests, if it takes a token
-- ARGV: [1] cap (-1: none), [2] when the counter expires (unix seconds), [3] tokens per
-- second, [4] burst
-- Returns 0 (admitted), -1 (over the cap; counted) or -2 (no token; not counted), and
-- milliseconds until the next token.
local given, wait = 1, 0
if KEYS[2] then
  local t = redis.call('TIME')
  given, wait = take(KEYS[2], 1, tonumber(ARGV[3]), tonumber(ARGV[4]), t[1] * 1000 + math.floor(t[2] / 1000))
end
if given == 0 then
  return {-2, wait}
end
local used = redis.call('INCR', KEYS[1])
if used == 1 then
  redis.call('EXPIREAT', KEYS[1], ARGV[2])
end
local cap = tonumber(ARGV[1])
if cap >= 0 and used > cap then
  return {-1, wait}
end
return {0, wait}
