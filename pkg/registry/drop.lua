-- Forgets peers that are still as oldest.lua found them.
-- KEYS: [1] hash peer -> its record, [2] sorted set of the same peers
-- ARGV: for each when it was seen (ms), and the peer
for i = 1, #ARGV, 2 do
  local r = read_record(redis.call('HGET', KEYS[1], ARGV[i + 1]))
  if r and r.online == '0' and r.at == ARGV[i] then
    drop_record(KEYS[1], KEYS[2], ARGV[i + 1])
  end
end
return 1
