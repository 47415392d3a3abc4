-- A token bucket, refilled continuously by Redis's own clock.
-- KEYS[1] the bucket; ARGV: how many ask for a token, tokens per second, burst.
-- Returns {how many get one, milliseconds until the next token}.
local rate, burst = tonumber(ARGV[2]), tonumber(ARGV[3])
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(bucket[1]), tonumber(bucket[2])
if tokens == nil then
  tokens, at = burst, now
end
if now > at then
  tokens = math.min(burst, tokens + (now - at) * rate / 1000)
  at = now
end
local allowed = math.max(0, math.min(tonumber(ARGV[1]), math.floor(tokens)))
tokens = tokens - allowed
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(at))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst * 1000 / rate) + 1000)
return {allowed, math.ceil(math.max(0, 1 - tokens) * 1000 / rate)}
