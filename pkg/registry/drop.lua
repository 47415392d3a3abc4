-- Forgets peers that are still as oldest.lua found them.
-- KEYS: [1] hash peer -> its record, [2] sorted set of the same peers, [3] hash of wills
-- (wills.lua), [4] zset peer -> when its will is due
-- ARGV: for each when it was seen (ms), and the peer
for i = 1, #ARGV, 2 do
  local r = read_record(redis.call('HGET', KEYS[1], ARGV[i + 1]))
  if r and r.online == '0' and r.at == ARGV[i] then
    if awaits_will(KEYS[3], ARGV[i + 1]) then
      redis.call('HDEL', KEYS[3], 'p' .. ARGV[i + 1])
      due_clear(KEYS[4], ARGV[i + 1])
    end
    drop_record(KEYS[1], KEYS[2], ARGV[i + 1])
  end
end
return 1
