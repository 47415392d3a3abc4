-- Forgets peers that were not seen for too long: one step through a bucket, and with
-- the last when to look again.
-- KEYS: [1] hash peer -> its record, [2] sorted set of the same peers, [3] zset of when
-- to look for peers to forget, [4] hash of wills (wills.lua)
-- ARGV: for how many ms the app remembers peers, the cursor (0 to begin with), how many
-- peers to look at, roughly, and when the longest unseen was seen that the steps before
-- have kept (ms, 0: none)
-- Returns the cursor to go on with ('0': that was all), and the next value of the last
-- argument.
local now, remember, oldest = due_time(), tonumber(ARGV[1]), tonumber(ARGV[4])
local minute = 60000
local step = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
for i = 1, #step[2], 2 do
  local r = read_record(step[2][i + 1])
  local at = tonumber(r.at)
  if r.online == '0' and at + remember <= now and awaits_will(KEYS[4], step[2][i]) then
    at = now + minute - remember -- it is looked at again
  end
  if r.online == '0' and at + remember <= now then
    drop_record(KEYS[1], KEYS[2], step[2][i])
  elseif r.online == '0' and (oldest == 0 or at < oldest) then
    oldest = at
  end
end
if step[1] == '0' then
  if redis.call('EXISTS', KEYS[1]) == 0 then
    due_clear(KEYS[3], 'peers')
  else
    due_set(KEYS[3], 'peers', (oldest == 0 and now or oldest) + remember)
  end
end
return {step[1], whole(oldest)}
