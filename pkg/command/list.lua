-- Reads commands of a channel, newest first. state.lua stands before this.
-- ARGV, behind those of all scripts: [3] channel, [4] the seq before which to begin ('':
-- with the newest), [5] at most how many, [6] bytes, [7] status that they have ('': any)
-- Returns {ended, the seq to go on before ('': there are no others), views…}. It looks at
-- forty commands at most.
local reply, size, looked = {ended, ''}, 0, 40
local before = ARGV[4] == '' and '+inf' or '(' .. ARGV[4]
local found = redis.call('ZREVRANGEBYSCORE', LISTED .. ARGV[3], before, '-inf', 'WITHSCORES', 'LIMIT', 0, looked + 1)
local last = ''
for i = 1, #found, 2 do
  if i > 2 * looked or #reply - 2 >= tonumber(ARGV[5]) then
    reply[2] = last
    break
  end
  local c = command(found[i], 'payload')
  if c then
    save(c)
    if ARGV[7] == '' or c.status == ARGV[7] then
      local one = view(c)
      size = size + #one[4] + 400
      for _, text in ipairs(one[6]) do
        size = size + #text + 60
      end
      if size > tonumber(ARGV[6]) and #reply > 2 then
        reply[2] = last
        break
      end
      reply[#reply + 1] = one
    end
  else
    redis.call('ZREM', LISTED .. ARGV[3], found[i])
  end
  last = found[i + 1]
end
return reply
