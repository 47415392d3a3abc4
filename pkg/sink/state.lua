-- This keeps the state of a group's sink for all nodes. deadline.lua stands before this. The keys:
--
--	STATE  hash: 'is', what is wrong: 'failing' or 'stopped', and not there if nothing is;
--	       'sink', of which sink that is said: of another one it says nothing; 'since', since
--	       when (ms); 'tries', how many tries have failed; 'retry', when it is tried again
--	       (ms); 'by', who tries it, and 'claim', until when others leave that to it (ms);
--	       'error' and 'error_at', the last error and when it was (ms); 'delivered', when the
--	       last messages were delivered (ms)
--	COUNT  the hash of what the group takes
--
-- ARGV: what to do, the sink, who asks; then what differs.
local MONTH, HOUR = 30 * 86400000, 3600000

local state, count = KEYS[1], KEYS[2]
local what, sink, who = ARGV[1], ARGV[2], ARGV[3]
local now = due_time()
local TROUBLE = {'is', 'sink', 'since', 'tries', 'retry', 'by', 'claim'}
local was, values = {}, redis.call('HMGET', state, 'error_at', 'delivered', unpack(TROUBLE))
for i, field in ipairs(TROUBLE) do
  was[field] = values[i + 2]
end
local error_at, delivered = tonumber(values[1] or 0), tonumber(values[2] or 0)
-- same is said of this sink.
local same = was.is and was.sink == sink

local function keep()
  redis.call('PEXPIRE', state, MONTH)
end

local function clear()
  redis.call('HDEL', state, unpack(TROUBLE))
end

-- note notes an error.
local function note(error)
  redis.call('HSET', state, 'error', error, 'error_at', now)
  keep()
end

local act = {}

-- begin forgets what was said of another sink: the document has changed since.
function act.begin()
  if was.is and not same then
    clear()
  end
  return {1}
end

-- look says whether the sink takes messages. ARGV: for how long a try is claimed (ms)
-- Returns {'ok', 'failing', 'stopped', or 'try': the one that asks may try it; in how many ms
-- to ask again, how many bytes the group takes}.
function act.look()
  local bytes = tonumber(redis.call('HGET', count, 'all') or 0)
  if not same then
    return {'ok', 0, bytes}
  end
  keep() -- which needs no memory, as below
  if was.is == 'stopped' then
    return {'stopped', 0, bytes}
  end
  local from = tonumber(was.retry)
  if was.by and was.by ~= who then
    from = math.max(from, tonumber(was.claim))
  end
  if from > now then
    return {'failing', from - now, bytes}
  end
  if bytes <= 0 then
    -- No try will show that a batch, which was under way when another failed, was taken: nothing waits.
    if delivered >= error_at then
      clear()
      return {'ok', 0, bytes}
    end
    return {'failing', 0, bytes}
  end
  redis.call('HSET', state, 'by', who, 'claim', now + tonumber(ARGV[4]))
  return {'try', 0, bytes}
end

-- works notes that the target answers. ARGV: '1' if it has taken messages
-- Returns {1 if it was failing, and this was the try (else 0)}. A batch that was under way when
-- another failed does not end the pause: the target may have asked for it since.
function act.works()
  if ARGV[4] == '1' then
    redis.call('HSET', state, 'delivered', now)
    keep()
  end
  if same and was.is == 'failing' and was.by == who then
    clear()
    return {1}
  end
  return {0}
end

-- refused notes why the sink has refused a message. ARGV: why
function act.refused()
  note(ARGV[4])
  return {1}
end

-- failed notes that the sink takes nothing now. ARGV: why, after how many ms it asks to be tried
-- again (0: it does not say), '1' if it has taken some messages, a number from 0 to 1
-- Returns {1 if that is news (else 0), in how many ms it is tried again}.
function act.failed()
  if same and was.is == 'stopped' then
    return {0, 0}
  end
  local after, progress = tonumber(ARGV[5]), ARGV[6] == '1'
  local tried = same and was.by == who
  local tries = 1
  if same and not progress then
    tries = tonumber(was.tries) + (tried and 1 or 0)
  end
  local wait = after
  if after == 0 then
    wait = math.floor(math.min(HOUR, 1000 * 2 ^ math.min(tries - 1, 30)) * (1 + tonumber(ARGV[7])) / 2)
  end
  local retry = now + wait
  if same and not tried and not progress then
    -- It was under way when another failed. When the sink is tried again is decided.
    retry = math.max(tonumber(was.retry), after > 0 and retry or 0)
  elseif was.by and (tried or not same) then
    redis.call('HDEL', state, 'by', 'claim')
  end
  redis.call('HSET', state, 'is', 'failing', 'sink', sink, 'since', same and was.since or now, 'tries', tries, 'retry', retry)
  note(ARGV[4])
  return {same and 0 or 1, retry - now}
end

-- unable notes that the one that asks cannot make its target, and so leaves a try to others.
-- ARGV: why, for how long messages have waited for it (ms), for how long none must have been
-- delivered for the sink to be failing (ms)
-- Returns {1 if it is failing since now (else 0), how many bytes the group takes}. Then the next
-- look is a try: of a node that can make the target.
function act.unable()
  local bytes = tonumber(redis.call('HGET', count, 'all') or 0)
  note(ARGV[4])
  if same then
    if was.by == who then
      redis.call('HDEL', state, 'by', 'claim')
    end
    return {0, bytes}
  end
  local idle = now - delivered
  if bytes <= 0 or math.min(tonumber(ARGV[5]), idle) < tonumber(ARGV[6]) then
    return {0, bytes}
  end
  clear()
  redis.call('HSET', state, 'is', 'failing', 'sink', sink, 'since', now, 'tries', 0, 'retry', now)
  return {1, bytes}
end

-- stopped notes that the sink wants nothing any more. ARGV: why
-- Returns {1 if that is news (else 0)}.
function act.stopped()
  clear()
  redis.call('HSET', state, 'is', 'stopped', 'sink', sink, 'since', same and was.since or now)
  note(ARGV[4])
  return {same and was.is == 'stopped' and 0 or 1}
end

-- resume has the sink tried again.
function act.resume()
  clear()
  return {1}
end

if what ~= 'look' then
  -- Redis refuses the first write of a script that needs memory when it is full, and no later one.
  -- So this one needs none: sinks must be able to drain a Redis that is full.
  redis.call('HDEL', state, '')
end
return act[what]()
