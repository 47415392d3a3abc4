-- Reads what peers have answered to a command. state.lua stands before this.
-- ARGV, behind those of all scripts: [3] id, [4] the peer behind which to begin, [5] at
-- most how many peers, [6] bytes, [7] status that they have ('': any)
-- Returns {ended, records, the peer to go on behind}, without the rest if there is no such
-- command.
local c = command(ARGV[3])
if not c then
  return {ended}
end
save(c)
local flat, next = records(c, ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7])
return {ended, flat, next}
