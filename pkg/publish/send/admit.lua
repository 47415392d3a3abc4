-- Admits messages of one app: their rates and the app's cap. It touches keys of the
-- app's slot alone, those of publish.lua.

-- admit holds n messages against the rates that stand in ARGV from at on, the buckets of
-- which are KEYS from 3 on, counts those within, and appends to reply how long it is until
-- the rates' next tokens. Without n the messages are what follows in ARGV, two each. It
-- returns where they begin, how many there are, which are over their rate, and how many
-- of the others the cap lets through.
local function admit(at, rates, n, micros, reply)
  local limited, refused = {}, 0
  for b = 3, 2 + rates do
    local asked = tonumber(ARGV[at + 2])
    local given, wait = take(KEYS[b], asked, tonumber(ARGV[at]), tonumber(ARGV[at + 1]), math.floor(micros / 1000))
    for i = given + 1, asked do
      limited[tonumber(ARGV[at + 2 + i])] = true
    end
    refused = refused + asked - given
    reply[b] = wait
    at = at + 3 + asked
  end
  n = n or (#ARGV - at + 1) / 2
  local room, cap = n - refused, tonumber(ARGV[3])
  if room > 0 then
    local used = redis.call('INCRBY', KEYS[1], room)
    if used == room then
      redis.call('EXPIREAT', KEYS[1], ARGV[4])
    end
    if cap >= 0 and used > cap then
      room = math.max(0, room - (used - cap))
    end
  end
  return at, n, limited, room
end
