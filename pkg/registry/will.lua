-- A connection sets its will, or takes it back.
-- KEYS: [1] hash peer -> its record, [2] hash of wills (wills.lua)
-- ARGV: the peer, the connection, the same under the former identities of its node,
-- separated by commas, the will ('': it has none)
-- Returns 1, or 0 if the connection is not known.
local r = read_record(redis.call('HGET', KEYS[1], ARGV[1]))
take_set(KEYS[2], ARGV[3])
if ARGV[4] == '' then
  take_set(KEYS[2], ARGV[2])
  return 1
end
-- It is under a former one as long as its node's connections are yet to be stated.
for holder in string.gmatch(ARGV[2] .. ',' .. ARGV[3], '[^,]+') do
  if r and holds(r, holder) then
    redis.call('HSET', KEYS[2], 'c' .. holder, ARGV[4])
    return 1
  end
end
return 0
