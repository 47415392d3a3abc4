-- Has nodes claim a command again that is handed over at a pace. state.lua stands before
-- this.
-- ARGV, behind those of all scripts: [3] id
-- Returns {ended}.
local id = ARGV[3]
local c = command(id)
if not c or final[c.status] or is_over(c) then
  deadline('p' .. id, 0)
else
  if in_pace(c) then
    -- The number differs from that of all other envelopes of the command.
    local payload = redis.call('HGET', COMMAND .. id, 'payload')
    local again = payload:sub(1, 9) .. '\130' .. string.format('%07x', micros % 268435456) .. payload:sub(18)
    redis.pcall('PUBLISH', TOPICS .. c.channel, again)
    --cluster to_wildcards(TOPICS .. c.channel, again)
  end
  deadline('p' .. id, now + math.max(pace_step, math.floor(60000 / pace(c))))
end
if c then
  save(c)
end
return {ended}
