-- One node's share of an app's concurrent connections. A node always states
-- how many it holds, so a lost reply or a restarted Redis heals with its next
-- call. A dead node's share is dropped when its lease has expired, but [2] knows
-- of the node for longer (quota.Holders). A request with a revoked token takes
-- no place from others.
-- KEYS: [1] hash node -> connections held, and of the peak what is not sure yet,
-- [2] zset node -> end of its lease (ms), [3] the most connections at once in this
-- period, [4] hash peer -> when (unix seconds) its tokens were revoked, and, after a
-- comma each, the iat of others that are, [5] the most seconds that a token lives that
-- was seen, [6] what is kept beside [4]
-- ARGV: node, held, cap (-1: none), lease in ms, when [3] expires (unix seconds), for
-- how many ms [2] knows of a node whose lease has run out, the most seconds that a
-- token lives that the node saw (0: [5] has it), 1 if the node renews its lease (0: it
-- has done so a moment ago),
-- then for each that asks: the peer ('': it has no token), when its token was issued
-- and when it expires (unix seconds), and how many connections it asks for (1, or 0: it
-- has one, and only asks about another token)
-- Returns for each that asks: 1 (granted), 0 (over the cap) or -1 (revoked).
local node, held = ARGV[1], tonumber(ARGV[2])
local cap, lease, known = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[6])
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)

local shares = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  shares[all[i]] = all[i + 1]
end
-- The others' shares, when the longest silent one of them was heard of, and the
-- shares of dead nodes.
local others, heard, lost = 0, now, 0
local leases = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
for i = 1, #leases, 2 do
  local other, ends = leases[i], tonumber(leases[i + 1])
  local share = tonumber(shares[other] or 0)
  if ends > now + lease then -- the clock was set back
    ends = now + lease
    redis.call('ZADD', KEYS[2], ends, other)
  end
  if ends <= now then
    redis.call('HDEL', KEYS[1], other)
    if ends + known <= now then
      redis.call('ZREM', KEYS[2], other)
    end
    if other ~= node then
      lost = lost + share
    end
  elseif other ~= node then
    others, heard = others + share, math.min(heard, ends - lease)
  end
end

local peers, revoked = {}, {}
for i = 9, #ARGV, 4 do
  peers[#peers + 1] = ARGV[i]
end
if #peers > 0 then
  revoked = redis.call('HMGET', KEYS[4], unpack(peers))
end
local mine, reply, life = held, {}, tonumber(ARGV[7])
for i = 1, #peers do
  local granted, is_revoked = 0, false
  local issued, asks = ARGV[6 + 4 * i], tonumber(ARGV[8 + 4 * i])
  if revoked[i] then
    local at, future = revoked[i]:match('^(%d+)(.*)$')
    local since = tonumber(at)
    is_revoked = tonumber(issued) <= since or (future .. ','):find(',' .. issued .. ',', 1, true)
    -- By a fast clock, a token signed before the revocation can seem to be from up to a
    -- minute after it (protocol.ClockLeeway); clocks that are set well are within two
    -- seconds. That it came from the future then is remembered.
    if not is_revoked and tonumber(issued) * 1000 > now + 2000 and now <= (since + 60) * 1000 then
      is_revoked = true
      if #future < 100 then
        redis.call('HSET', KEYS[4], peers[i], revoked[i] .. ',' .. issued)
      end
    end
    if is_revoked then -- until it expires, even if it does not say when it was issued
      life = math.max(life, tonumber(ARGV[7 + 4 * i]) - since)
    end
  end
  if is_revoked then
    granted = -1
  elseif asks == 0 or cap < 0 or others + mine < cap then
    granted, mine = 1, mine + asks
  end
  reply[i] = granted
end

-- Revocations are needed for as long as a token lives (revoke.lua), and two minutes, as
-- clocks differ. When no token of such a life has been seen for as long, all that were
-- have expired.
if life > 0 then
  local known, needed = tonumber(redis.call('GET', KEYS[5]) or '0'), life + 120
  if life > known then
    redis.call('SET', KEYS[5], life, 'EX', needed)
    for _, key in ipairs({KEYS[4], KEYS[6]}) do
      local ttl = redis.call('TTL', key)
      if ttl >= 0 and ttl < needed then
        redis.call('EXPIRE', key, needed)
      end
    end
  elseif life == known then
    redis.call('EXPIRE', KEYS[5], needed)
  end
end

-- The peak. A total is sure once all who had a part in it have been heard of after
-- it: devices of a node that died come back elsewhere while its share still
-- counts. ':early' is the most up to ':until', which is waited for, and ':late' the
-- most since. Of both is taken what dead nodes held.
local total = others + mine
local early, late = tonumber(shares[':early'] or 0) - lost, tonumber(shares[':late'] or 0) - lost
local ends = math.min(tonumber(shares[':until'] or 0), now)
if shares[':period'] ~= ARGV[5] then
  early, late, ends = 0, 0, now
end
late = math.max(late, total)
if heard >= ends then
  if heard >= now then
    early = math.max(early, late)
  end
  if early > tonumber(redis.call('GET', KEYS[3]) or '0') then
    redis.call('SET', KEYS[3], early, 'EXAT', ARGV[5])
  end
  early, late, ends = late, total, now
end

if total == 0 then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], node)
  return reply
end
redis.call('HSET', KEYS[1], ':early', early, ':late', late, ':until', ends, node, mine)
if shares[':period'] ~= ARGV[5] then
  redis.call('HSET', KEYS[1], ':period', ARGV[5])
end
if mine > 0 then
  redis.call('ZADD', KEYS[2], now + lease, node)
else
  redis.call('HDEL', KEYS[1], node)
  redis.call('ZREM', KEYS[2], node)
end
if ARGV[8] == '1' or #all == 0 then
  redis.call('PEXPIRE', KEYS[1], lease * 2)
  redis.call('PEXPIRE', KEYS[2], lease + known)
end
return reply
