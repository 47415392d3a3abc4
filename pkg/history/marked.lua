-- Has nodes look through a bucket whose channels remember, because the rules have changed.
-- KEYS: [1] INDEX, [2] DUE
-- Returns 1 if the bucket has such channels.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
due_set(KEYS[2], 'rules', due_time())
return 1
