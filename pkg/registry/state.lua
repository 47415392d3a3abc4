-- Tells one connection whether a peer is online, on the peer's channel of connectivity:
-- so it comes in order with what is told to all. Of a peer that is not known nothing is.
-- KEYS[1] hash peer -> its record
-- ARGV: the peer, what the topics of the bucket's channels begin with, the peer's channel,
-- the process of the connection and 8 random bytes, the connection (8 bytes), for how many
-- ms the app remembers peers
-- Returns 1 if it is known.
local r = read_record(redis.call('HGET', KEYS[1], ARGV[1]))
if not r or r.online == '0' and tonumber(r.at) + tonumber(ARGV[6]) <= due_time() then
  return 0
end
publish(ARGV[2], ARGV[3], r, 6, ARGV[4], ARGV[5])
return 1
