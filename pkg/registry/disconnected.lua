-- A connection of a peer has ended. Without another the peer goes offline when its
-- grace ends, unless it is back.
-- KEYS: [1] hash peer -> its record, [2] zset peer -> when it is said to be offline,
-- [3] hash of wills (wills.lua), [4] zset peer -> when its will is due
-- ARGV: the peer, the connection, the same under the former identities of its node,
-- separated by commas, the code and the reason, the grace in ms, and
-- what becomes of the connection's will ('': it has none): 'leave' or 'drop' it
-- Returns 1, or 0 if the connection was not known.
local peer = ARGV[1]
local r = read_record(redis.call('HGET', KEYS[1], peer))
if not r then
  return 0
end
local holders = ARGV[2] .. ',' .. ARGV[3]
if not let_go(r, holders) then
  return 0
end
local now = due_time()
r.at, r.code, r.reason = whole(now), ARGV[4], ARGV[5]
write_record(KEYS[1], peer, r)
if r.holders == '' then
  due_set(KEYS[2], peer, now + tonumber(ARGV[6]))
end
if ARGV[7] ~= '' then
  local will = take_set(KEYS[3], holders)
  if will and ARGV[7] == 'leave' and r.holders == '' then
    leave_will(KEYS[3], KEYS[4], peer, r, will, now, tonumber(ARGV[6]))
  end
end
return 1
