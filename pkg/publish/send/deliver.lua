-- Publishes messages that were admitted to channels or peers of one bucket, on a Redis
-- Cluster. The table over, the function send (send.lua) and in_time.lua stand before this.
-- KEYS: [1] a key of the bucket, then those of send
-- ARGV: [1] and [2] as in in_time.lua, [3] '' or, if send publishes the messages, how many there
-- are, and which of them, from 1, are over the cap or have no room in their groups: those are
-- not published, but may repeat others; behind that ' gN' if some wait for N groups, and then
-- [4] begins what the function read of pkg/group/append.lua takes; then a Redis channel and a payload for each message, or what send takes
-- Returns 0 and this node's clock in microseconds, unless in_time.lua ends it; then for each message how many nodes were
-- subscribed here, -3 if Redis did not let us publish it, or what send says.
local reply = {0, now}
if ARGV[3] == '' then
  for at = 4, #ARGV, 2 do
    local outcome = redis.pcall('PUBLISH', ARGV[at], ARGV[at + 1])
    --cluster to_wildcards(ARGV[at], ARGV[at + 1])
    reply[#reply + 1] = type(outcome) == 'number' and outcome or -3
  end
  return reply
end
local n = tonumber(string.match(ARGV[3], '^%d+'))
for i in string.gmatch(ARGV[3], ' (%d+)') do
  over[tonumber(i)] = true
end
local at, waiting, groups = 4, nil, string.match(ARGV[3], ' g(%d+)$')
if groups then
  waiting = new_waiting()
  at = waiting.read(at, tonumber(groups))
end
local _, extra = send(at, 2, n, {}, n, now, reply, waiting, nil)
for _, more in ipairs(extra) do
  reply[#reply + 1] = more
end
return reply
