-- A token bucket, refilled continuously by Redis's own clock. take gives out up
-- to asked tokens of the bucket at key, which gets rate tokens a second and holds
-- burst. now is Redis's clock in milliseconds. It returns how many it gave, and
-- milliseconds until the next token. Where the
-- clock was set back, the bucket goes on from what it is now.
local function take(key, asked, rate, burst, now)
  local bucket = redis.call('HMGET', key, 'tokens', 'at')
  local tokens, at = tonumber(bucket[1]), tonumber(bucket[2])
  if tokens == nil then
    tokens, at = burst, now
  end
  if now > at then
    tokens = math.min(burst, tokens + (now - at) * rate / 1000)
  end
  at = now
  local given = math.max(0, math.min(asked, math.floor(tokens)))
  tokens = tokens - given
  redis.call('HSET', key, 'tokens', tostring(tokens), 'at', tostring(at))
  redis.call('PEXPIRE', key, math.ceil(burst * 1000 / rate) + 1000)
  return given, math.ceil(math.max(0, 1 - tokens) * 1000 / rate)
end
