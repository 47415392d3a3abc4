-- Takes wills whose time has come, or says what became of those that were taken. One
-- that is taken is published at most once, whatever becomes of its node.
-- KEYS: [1] hash peer -> its record, [2] sorted set of the same peers, [3] hash of wills
-- (wills.lua), [4] zset peer -> when its will is due
-- ARGV: 'take', 'done' or 'back', for how many ms a node has a will that it takes (take)
-- or until one that comes back is due (back), for how many ms the app remembers peers
-- (0: it does not), then peers
-- Returns, of 'take', for each that was taken: the peer, and the will.
local now, wait, remember = due_time(), tonumber(ARGV[2]), tonumber(ARGV[3])
local reply = {}

-- drop has a will be over, and forgets a peer that was known for its sake.
local function drop(peer, r)
  redis.call('HDEL', KEYS[3], 'p' .. peer)
  due_clear(KEYS[4], peer)
  if r and r.online == '0' and r.holders == '' and (remember == 0 or string.sub(peer, 1, 5) == 'anon_') then
    drop_record(KEYS[1], KEYS[2], peer)
  end
end

for i = 4, #ARGV do
  local peer = ARGV[i]
  local state, epoch, will = string.match(redis.call('HGET', KEYS[3], 'p' .. peer) or '', '^(.) (%d+) (.*)$')
  local r = read_record(redis.call('HGET', KEYS[1], peer))
  local last = r and state and r.holders == '' and r.epoch == tonumber(epoch)
  if ARGV[1] ~= 'take' then
    if state == 't' then
      if ARGV[1] == 'back' and last then
        redis.call('HSET', KEYS[3], 'p' .. peer, 'w ' .. epoch .. ' ' .. will)
        due_set(KEYS[4], peer, now + wait)
      else
        drop(peer, r)
      end
    end
  elseif due_passed(KEYS[4], peer, now) then
    if state ~= 'w' or not last then -- the peer was back, or the node that took it is dead
      drop(peer, r)
    elseif r.online == '0' then -- else it is said to be offline first
      redis.call('HSET', KEYS[3], 'p' .. peer, 't ' .. epoch .. ' ' .. will)
      due_set(KEYS[4], peer, now + wait)
      reply[#reply + 1] = peer
      reply[#reply + 1] = will
    end
  end
end
return reply
