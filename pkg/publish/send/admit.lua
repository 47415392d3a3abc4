-- Admits messages of one app: their rates, the room in the groups that they wait for, and the
-- app's cap. It touches keys of the app's slot alone, those of publish.lua. The function
-- new_waiting stands before this, with the body of pkg/group/append.lua.

-- admit holds n messages against the rates that stand in ARGV from at on, the buckets of
-- which are KEYS from 3 on, counts those within, and appends to reply how long it is until
-- the rates' next tokens. Behind the rates stands what the messages of so many groups wait
-- for, and behind their buckets the groups' counts. Without n the messages are what follows
-- in ARGV, two each. It returns where they begin, how many there are, which are over their
-- rate, how many of the others the cap lets through and, with groups, what new_waiting has
-- returned, and which messages have no room: those are not counted.
local function admit(at, rates, groups, n, micros, reply)
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
  local waiting, full, without = nil, nil, 0
  if groups > 0 then
    waiting = new_waiting()
    at = waiting.read(at, groups)
    full, without = waiting.find_full(n, limited, 3 + rates)
  end
  local room, cap = n - refused - without, tonumber(ARGV[3])
  if room > 0 then
    local used = redis.call('INCRBY', KEYS[1], room)
    if used == room then
      redis.call('EXPIREAT', KEYS[1], ARGV[4])
    end
    if cap >= 0 and used > cap then
      room = math.max(0, room - (used - cap))
    end
  end
  return at, n, limited, room, waiting, full
end
