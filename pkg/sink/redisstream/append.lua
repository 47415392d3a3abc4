-- Appends messages to a stream: all of them in order, or none.
-- KEYS[1]  the stream
-- ARGV[1]  about how many entries it keeps, 0: all
-- ARGV[2…] for each message: how many fields and values follow, and these
local at = 2
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  if ARGV[1] == '0' then
    redis.call('XADD', KEYS[1], '*', unpack(ARGV, at + 1, at + n))
  else
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', unpack(ARGV, at + 1, at + n))
  end
  at = at + n + 1
end
return redis.status_reply('OK')
