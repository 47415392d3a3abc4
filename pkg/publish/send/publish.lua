-- Holds messages of one app against their senders' rates and the app's cap, and
-- publishes those within both, in one step: so exactly as many pass as the cap
-- allows, and one over its rate is not counted. bucket.lua and admit.lua stand before
-- this, and the function send (send.lua).
--
-- It runs each batch at most once, and none too late. Batches of a process have
-- numbers that rise. [2] is a hash with the number n of the last one that ran, and
-- what it returned, unless all was published (said: its number and that), or with
-- the number of one that never will (void). A batch whose answer was lost is sent again
-- with its number, and gets that answer. A batch that was overtaken by a later one,
-- or that comes after its deadline by Redis's clock, does nothing: its sender has
-- been told so.
-- KEYS: [1] the counter, [2] this process's last batch; then a bucket for each rate, the
-- counts of groups, and the keys of send
-- ARGV: [1] the batch's number, [2] its deadline (microseconds since 1970), [3] cap
-- (-1: none), [4] when the counter expires (unix seconds), [5] '' or, if the batch
-- was sent before, the run_id of the Redis that it was sent to and the number that
-- [2] must have at least, because this process has heard so, [6] '' or what is
-- asked of [2]: 'renew' that it lives on, 'exact' that it tells to how many nodes a
-- message went, [7] '' or, if send publishes the messages, how many rates and how many
-- messages there are and, if some wait for groups, how many groups; for each bucket tokens
-- per second, burst, how many messages take a token each, and which these are,
-- from 1; with groups, what the function read of pkg/group/append.lua takes; then a Redis
-- channel and a payload for each message, or what send takes.
-- Without messages it says what became of the batch, and sees to it that the batch
-- never runs after that.
-- Returns what became of the batch (0: it ran, 1: it came too late, 2: it did not
-- run and never will, 3: unknown, as Redis has lost what it knew), and Redis's
-- clock in microseconds. If it ran: for each bucket milliseconds until its next
-- token; then for each message how many nodes Redis handed it to, -1 if it is over
-- the cap, -2 if it is over its rate, -3 if Redis did not let us publish it, -6 if a group
-- has no room for it, or what send says. All that may be missing of a batch that is sent again: then all was
-- published.
local life = 600 -- of [2], in seconds
local function keep_batch(expires, ...)
  redis.call('HSET', KEYS[2], 'n', ARGV[1], ...)
  if expires then
    redis.call('EXPIRE', KEYS[2], life)
  end
end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local number, deadline = tonumber(ARGV[1]), tonumber(ARGV[2])
local reply = {0, now}
local last = tonumber(redis.call('HGET', KEYS[2], 'n') or 0)
if last >= number then
  if last > number or redis.call('HGET', KEYS[2], 'void') == ARGV[1] then
    return {2, now}
  end
  local of, said = string.match(redis.call('HGET', KEYS[2], 'said') or '', '^(%d+) (.*)$')
  if of == ARGV[1] then
    for outcome in string.gmatch(said, '%S+') do
      reply[#reply + 1] = tonumber(outcome) or outcome
    end
  end
  return reply
end
if ARGV[5] ~= '' then
  local run, heard = string.match(ARGV[5], '^(%S+) (%d+)$')
  local info = redis.pcall('INFO', 'server')
  local known = type(info) == 'string' and string.match(info, 'run_id:(%x+)') == run
  known = known and last >= tonumber(heard) and now < deadline + life * 500000
  if #ARGV == 7 or now > deadline or not known then
    keep_batch(true, 'void', ARGV[1])
    return {known and 2 or 3, now}
  end
end
if now > deadline then
  return {1, now}
end

local rates, n, groups = #KEYS - 2, nil, 0
if ARGV[7] ~= '' then
  rates, n, groups = string.match(ARGV[7], '^(%d+) (%d+) ?(%d*)$')
  rates, n, groups = tonumber(rates), tonumber(n), tonumber(groups) or 0
end
local at, limited, room, waiting, full
at, n, limited, room, waiting, full = admit(8, rates, groups, n, now, reply)
local all, before, uncounted, extra = room == n, #reply, 0, nil
if ARGV[7] ~= '' then
  local itemized
  uncounted, extra, itemized = send(at, 3 + rates + groups, n, limited, room, now, reply, waiting, full)
  all = all and not itemized
else
  for i = 1, n do
    local outcome = -2
    if not limited[i] then
      outcome = -1
      if room > 0 then
        outcome = redis.pcall('PUBLISH', ARGV[at], ARGV[at + 1])
        room = room - 1
        if type(outcome) ~= 'number' then
          outcome, uncounted = -3, uncounted + 1
        end
      end
    end
    reply[before + i] = outcome
    at = at + 2
  end
end
if uncounted > 0 then
  redis.call('DECRBY', KEYS[1], uncounted)
  all = false
end
local expires = last == 0 or ARGV[6] ~= ''
if not all or ARGV[6] ~= '' and string.find(ARGV[6], 'exact', 1, true) then
  keep_batch(expires, 'said', ARGV[1] .. ' ' .. table.concat(reply, ' ', 3))
else
  keep_batch(expires)
end
if extra then
  for _, more in ipairs(extra) do
    reply[#reply + 1] = more
  end
end
return reply
