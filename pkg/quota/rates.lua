-- KEYS[1] a bucket (bucket.lua stands before this); ARGV: how many ask for a
-- token, tokens per second, burst.
-- Returns {how many get one, milliseconds until the next token}.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
return {take(KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), now)}
