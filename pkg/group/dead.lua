-- Does something with dead letters of one bucket. waiting.lua stands before this.
-- ARGV: 'list', 'redrive' or 'delete'; for how long messages live (ms); the
-- group and its topic; with 'list' behind which id, as XRANGE takes it, and how many at most;
-- with the others the ids, or none and how many at most
-- Returns {bytes that Go must take off the group, 1 if nodes must look here (else 0)}, and the
-- ids that were found.
local what, life, topic = ARGV[1], tonumber(ARGV[2]), ARGV[4]
local reply = {0, 0}
local found = {}
if what == 'list' then
  found = redis.call('XRANGE', dead, ARGV[5], '+', 'COUNT', ARGV[6])
elseif string.find(ARGV[5], '-', 1, true) then
  for i = 5, #ARGV do
    found[#found + 1] = entry_of(dead, ARGV[i])
  end
else
  found = redis.call('XRANGE', dead, '-', '+', 'COUNT', ARGV[5])
end

for _, entry in ipairs(found) do
  local id, there = entry[1], true
  local bytes, channel, message, published = fields_of(entry)
  if what == 'redrive' then
    there = redis.call('XDEL', dead, id) == 1 -- it may be named twice
    if there then
      redis.call('XADD', stream, '*', 'b', bytes, 'c', channel, 'm', message, 'p', published)
    end
  elseif what == 'delete' then
    there = forget(dead, id, tonumber(bytes))
  end
  reply[#reply + 1] = there and id or nil
end

if what == 'redrive' and #found > 0 then
  redis.call('PEXPIRE', stream, life + DAY)
  redis.call('PEXPIRE', state, life + DAY)
  redis.call('HDEL', state, 'idle')
  redis.call('ZADD', due, 'NX', now + 1000, ARGV[3])
  reply[2] = 1
  redis.pcall('PUBLISH', topic, '') -- to all nodes
end
reply[1] = count_out()
return reply
