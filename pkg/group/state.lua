-- Tells what waits in one bucket. waiting.lua stands before this.
-- Returns {how many messages, of which are delivered and not acknowledged, how many dead
-- letters, when the oldest message was published (ms; 0: there is none), Redis's clock (ms),
-- the consumer that is served}.
local pending = redis.call('ZCOUNT', leases, '(' .. now, '+inf')
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local published = first and select(4, fields_of(first))
local owner = redis.call('HGET', state, 'owner')
return {
  redis.call('XLEN', stream), pending, redis.call('XLEN', dead),
  first and tonumber(published or ms_of(first[1])) or 0,
  now, pending > 0 and owner or '',
}
