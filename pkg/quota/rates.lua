-- KEYS[1] a bucket (bucket.lua stands before this); ARGV: how many ask for a
-- token, tokens per second, burst.
-- Returns {how many get one, milliseconds until the next token}.
-- Redis refuses the first write of a script that needs memory when it is full, and no later one.
-- So this one needs none: requests must be able to drain groups then.
redis.call('HDEL', KEYS[1], '')
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
return {take(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), now)}
