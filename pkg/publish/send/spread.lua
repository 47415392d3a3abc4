-- Publishes messages that were admitted, and that need nothing else, on a Redis Cluster: to
-- topics of any slots of this node. It is told of no key, so that it may read those of several
-- slots. A bucket whose slot is not here gets an error for its key, and is not published.
-- in_time.lua stands before this.
-- ARGV: [1] and [2] as in in_time.lua, then for each bucket its key of wildcards, the topic of all
-- its channels, and how many messages it has, and of each of those its topic and its payload
-- Returns 0 and this node's clock in microseconds, unless in_time.lua ends it; then of each message that went to no node its
-- number, from 1, and 0, -3 if Redis did not let us publish it, or -5 if its slot is not here.
local reply, at, number = {0, now}, 3, 0
while ARGV[at] do
  local wild, all = redis.pcall('EXISTS', ARGV[at]), ARGV[at + 1]
  local last = at + 1 + 2 * ARGV[at + 2]
  for i = at + 3, last, 2 do
    local topic, message, outcome = ARGV[i], ARGV[i + 1], -5
    number = number + 1
    if type(wild) == 'number' then
      outcome = redis.pcall('PUBLISH', topic, message)
      outcome = type(outcome) == 'number' and outcome or -3
      -- A peer's topic does not begin like that of all channels.
      if wild == 1 and outcome >= 0 and string.sub(topic, 1, #all) == all then
        redis.pcall('PUBLISH', all, string.sub(topic, #all + 1) .. '\n' .. message)
      end
    end
    if outcome <= 0 then
      reply[#reply + 1] = number
      reply[#reply + 1] = outcome
    end
  end
  at = last + 2
end
return reply
