-- Takes a snapshot of a command that is due, or notes that it was sent. state.lua stands
-- before this.
-- ARGV, behind those of all scripts: [3] id, [4] 'take' or 'sent', [5] with 'sent', when
-- it was taken
-- Returns {ended, taken, channel, key, state}, of 'take', and nothing behind
-- ended if none is due. One that is not said to be sent is due again in some seconds.
local again = 5000
local c = command(ARGV[3])
if not c then
  deadline('n' .. ARGV[3], 0)
  return {ended}
end
save(c)
local taken_at, next_at, unsent = tells(c)
if ARGV[4] == 'sent' then
  if taken_at == tonumber(ARGV[5]) and unsent == '0' then
    deadline('n' .. c.id, 0)
    c.tells, c.changed = ARGV[5] .. ' 0 0', true
    save(c)
  end
  return {ended}
end
if next_at == 0 or next_at > now then
  deadline('n' .. c.id, next_at)
  return {ended}
end
c.tells, c.changed = string.format('%d %d 0', now, now + again), true
deadline('n' .. c.id, now + again)
save(c)
return {ended, now, c.notify, c.key, c.text}
