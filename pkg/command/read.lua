-- Reads a command as it is now: what has fallen due is seen to first. state.lua stands
-- before this.
-- ARGV, behind those of all scripts: [3] id, [4] process that waits for the end ('':
-- none)
-- Returns {ended, view}, without a view if there is no such command.
local c = command(ARGV[3])
if not c then
  return {ended}
end
if ARGV[4] ~= '' and not final[c.status] and not (c.wake .. ' '):find(' ' .. ARGV[4] .. ' ', 1, true) then
  c.wake, c.changed = c.wake .. ' ' .. ARGV[4], true
end
save(c)
return {ended, view(c)}
