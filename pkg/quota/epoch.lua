-- KEYS[1] the epoch of what is in Redis; ARGV[1] what it becomes if there is none
-- Returns the epoch, with a ':' and when it began, and Redis's clock (both in ms).
-- Another server (run_id) begins another epoch: a replica that was promoted may lack what
-- nodes had told the former primary, and still has its epoch.
local t = redis.call('TIME')
local now = string.format('%.0f', tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000))
local info = redis.pcall('INFO', 'server') -- users may lack the right
local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
local epoch = redis.call('GET', KEYS[1])
local former = epoch and string.match(epoch, '^[^:]*:%d+:(%x+)$')
if not epoch or run ~= '' and former ~= run then
  epoch = ARGV[1] .. ':' .. now
  if run ~= '' then
    epoch = epoch .. ':' .. run
  end
  redis.call('SET', KEYS[1], epoch)
end
return {epoch, now}
