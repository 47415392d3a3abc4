-- Admits messages of one app: their rates and the app's cap. It touches keys of the
-- app's slot alone, those of publish.lua.

-- hold_rates holds messages against the rates that stand in ARGV from at on, the buckets of
-- which are KEYS from 3 on, and appends to reply how long it is until their next tokens. It
-- returns where the next argument is, which messages are over their rate, and how many
-- these are.
local function hold_rates(at, rates, micros, reply)
  local limited, refused = {}, 0
  for b = 3, 2 + rates do
    local asked = tonumber(ARGV[at + 2])
    local given, wait = take(KEYS[b], asked, tonumber(ARGV[at]), tonumber(ARGV[at + 1]), math.floor(micros / 1000))
    for i = given + 1, asked do
      limited[tonumber(ARGV[at + 2 + i])] = true
    end
    refused = refused + asked - given
    reply[#reply + 1] = wait
    at = at + 3 + asked
  end
  return at, limited, refused
end

-- count_messages counts messages, and returns how many of them the cap lets through.
local function count_messages(n)
  if n == 0 then
    return 0
  end
  local cap = tonumber(ARGV[3])
  local used = redis.call('INCRBY', KEYS[1], n)
  if used == n then
    redis.call('EXPIREAT', KEYS[1], ARGV[4])
  end
  if cap >= 0 and used > cap then
    return math.max(0, n - (used - cap))
  end
  return n
end

-- uncount takes back messages that were counted, and need not have been.
local function uncount(n)
  if n > 0 then
    redis.call('DECRBY', KEYS[1], n)
  end
end
