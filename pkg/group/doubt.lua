-- Has a node look at a group: whether it takes what its count says. deadline.lua stands before
-- this.
-- KEYS[1] DUE; ARGV[1] what to look at
return redis.call('ZADD', KEYS[1], 'NX', due_time(), ARGV[1])
