-- Takes messages off a count that were counted and then not published.
-- KEYS[1] the counter; ARGV[1] how many
if redis.call('EXISTS', KEYS[1]) == 1 then
  redis.call('DECRBY', KEYS[1], ARGV[1])
end
return 1
