-- Drops the oldest messages of one bucket, because the group takes too much. waiting.lua
-- stands before this.
-- ARGV: up to when they were published (ms), and how many bytes at most
-- Returns {bytes that Go must take off the group, how many were dropped, when the oldest was
-- published that is left (ms; 0: none is)}.
local cutoff, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local dropped, oldest = 0, 0
while true do
  local entry = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  oldest = entry and ms_of(entry[1]) or 0
  if not entry or oldest > cutoff or freed >= most then
    break
  end
  forget(stream, entry[1], tonumber((fields_of(entry))))
  dropped = dropped + 1
end
return {count_out(), dropped, oldest}
