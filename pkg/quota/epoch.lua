-- KEYS[1] the epoch of what is in Redis; ARGV[1] what it becomes if there is none
-- Returns the epoch, with a ':' and when it began, and Redis's clock (both in ms).
local t = redis.call('TIME')
local now = string.format('%.0f', tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000))
local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = ARGV[1] .. ':' .. now
  redis.call('SET', KEYS[1], epoch)
end
return {epoch, now}
