-- Takes a snapshot of a command that is due, or notes that it was sent. state.lua stands
-- before this.
-- ARGV, behind those of all scripts: [3] id, [4] 'take' or 'sent', [5] with 'sent', when
-- it was taken
-- Returns {ended, taken, channel, key, status, counts, missing}, of 'take', and nothing behind
-- ended if none is due. One that is not said to be sent is due again in some seconds.
local again = 5000
local c = command(ARGV[3])
if not c then
  deadline('n' .. ARGV[3], 0)
  return {ended}
end
save(c)
if ARGV[4] == 'sent' then
  if c.told == tonumber(ARGV[5]) and redis.call('HGET', COMMAND .. c.id, 'untold') == '0' then
    deadline('n' .. c.id, 0)
    redis.call('HSET', COMMAND .. c.id, 'tell', '0')
  end
  return {ended}
end
if c.tell == 0 or c.tell > now then
  deadline('n' .. c.id, c.tell)
  return {ended}
end
redis.call('HSET', COMMAND .. c.id, 'told', number(now), 'untold', '0', 'tell', number(now + again))
deadline('n' .. c.id, now + again)
local v = redis.call('HMGET', COMMAND .. c.id, 'key', 'counts', 'missing')
return {ended, number(now), c.notify, v[1], c.status, v[2], v[3] or '0'}
