-- The grace of peers is over: those that are not back are offline.
-- KEYS: [1] hash peer -> its record, [2] sorted set of the same peers, [3] zset peer ->
-- when it is said to be offline, [4] zset of when to look for peers to forget,
-- [5] sorted set of the peers that are online, [6] hash of wills (wills.lua)
-- ARGV: for how many ms the app remembers peers (0: it does not), what the topics of
-- the bucket's channels begin with, 8 random bytes, then each peer and its channel of
-- connectivity
-- Returns how many peers are in [1].
local now, remember = due_time(), tonumber(ARGV[1])
for i = 4, #ARGV, 2 do
  local peer = ARGV[i]
  if due_passed(KEYS[3], peer, now) then
    due_clear(KEYS[3], peer)
    local r = read_record(redis.call('HGET', KEYS[1], peer))
    if r and r.holders == '' and r.online == '1' then
      r.online = '0'
      redis.call('ZREM', KEYS[5], peer)
      publish(ARGV[2], ARGV[i + 1], r, 1, ARGV[3] .. '\0\0\0\0\0\0' .. two(i), nobody)
      if (remember == 0 or string.sub(peer, 1, 5) == 'anon_') and not awaits_will(KEYS[6], peer) then
        drop_record(KEYS[1], KEYS[2], peer)
      else
        write_record(KEYS[1], peer, r)
        if not redis.call('ZSCORE', KEYS[4], 'peers') then
          due_set(KEYS[4], 'peers', now + remember)
        end
      end
    end
  end
end
return redis.call('HLEN', KEYS[1])
