-- Finds the peers of a bucket that are offline, the longest unseen first.
-- KEYS[1] hash peer -> its record
-- ARGV[1] how many at most
-- Returns for each when it was seen (ms), and the peer.
local found = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local online, at = string.match(all[i + 1], '^%d+ (%d) %d+ (%d+) ')
  if online == '0' then
    found[#found + 1] = {tonumber(at), at, all[i]}
  end
end
table.sort(found, function(a, b) return a[1] < b[1] end)
local reply = {}
for i = 1, math.min(#found, tonumber(ARGV[1])) do
  reply[#reply + 1] = found[i][2]
  reply[#reply + 1] = found[i][3]
end
return reply
