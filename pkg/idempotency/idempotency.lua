-- Remembers under a key what became of a request, and a fingerprint of its body.

-- repeated says whether the request came before: nil, no; 'repeated', and what was
-- kept of it; or 'conflict', the key came with another body.
local function repeated(key, fingerprint)
  local kept = redis.call('GET', key)
  if not kept then
    return nil
  end
  local was, result = kept:match('^(%S+) (.*)$')
  if was ~= fingerprint then
    return 'conflict'
  end
  return 'repeated', result
end

-- keep keeps the result for a time in milliseconds.
local function keep(key, fingerprint, result, life)
  redis.call('SET', key, fingerprint .. ' ' .. result, 'PX', life)
end
