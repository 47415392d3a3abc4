-- A connection sets its will, or takes it back.
-- KEYS: [1] hash peer -> its record, [2] hash of wills (wills.lua)
-- ARGV: the peer, the connection, the same under the former identity of its node ('':
-- it had none), the will ('': it has none)
-- Returns 1, or 0 if the connection is not known.
local r = read_record(redis.call('HGET', KEYS[1], ARGV[1]))
if ARGV[3] ~= '' then
  take_set(KEYS[2], ARGV[3])
end
if ARGV[4] == '' then
  take_set(KEYS[2], ARGV[2])
  return 1
end
local holder = ARGV[2]
if r and not holds(r, holder) then
  holder = ARGV[3] -- its connections are yet to be stated under the other
end
if not r or holder == '' or not holds(r, holder) then
  return 0
end
redis.call('HSET', KEYS[2], 'c' .. holder, ARGV[4])
return 1
