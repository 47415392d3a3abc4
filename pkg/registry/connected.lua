-- A connection of a peer begins, or is stated again. It takes the peer's next epoch.
-- KEYS: [1] hash peer -> its record, [2] sorted set of the same peers, [3] zset peer ->
-- when it is said to be offline, [4] sorted set of the peers that are online
-- ARGV: the peer, the connection, the same under the former identities of its node,
-- separated by commas, what others see of the peer, the epoch that the connection has (0: none
-- yet); what the topics of the bucket's channels begin with, the peer's channel of
-- connectivity, and 16 random bytes
-- Returns the connection's epoch, and how many peers are in [1] if this one is new (else 0).
local peer, holder, known = ARGV[1], ARGV[2], tonumber(ARGV[5])
local r = read_record(redis.call('HGET', KEYS[1], peer))
local new = not r
if new then
  r = {epoch = 0, online = '0', since = '0', at = '0', code = '0', reason = '-', holders = '', metadata = ''}
end
if holds(r, holder) then -- it has other metadata, or its answer was lost
  if r.metadata ~= ARGV[4] then
    r.metadata = ARGV[4]
    write_record(KEYS[1], peer, r)
  end
  return {r.epoch, 0}
end
local in_grace = r.online == '1' and r.holders == ''
-- After that it takes another epoch, or a will of its last connection would be published.
local stays = r.online == '1' and not in_grace and known > 0
let_go(r, ARGV[3])
if stays then
  r.epoch = math.max(r.epoch, known)
else
  r.epoch = math.max(r.epoch + 1, known)
end
local back = r.online == '0'
if back then
  r.online, r.since = '1', whole(due_time())
  redis.call('ZADD', KEYS[4], 0, peer)
end
r.holders = r.holders == '' and holder or (r.holders .. ',' .. holder)
r.metadata = ARGV[4]
if in_grace then
  due_clear(KEYS[3], peer)
end
write_record(KEYS[1], peer, r)
if back then
  publish(ARGV[6], ARGV[7], r, 1, ARGV[8], nobody)
end
if not new then
  return {r.epoch, 0}
end
redis.call('ZADD', KEYS[2], 0, peer)
return {r.epoch, redis.call('HLEN', KEYS[1])}
