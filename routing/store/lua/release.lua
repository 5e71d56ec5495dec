-- After the SQL commit: give back holds, once each, and install newer balances.
-- KEYS: 1 holds:due   ARGV: 1 number of jobs, the job ids, then (scope, available nano, version, ttl ms or 0) per budget
-- -> number of holds given back
local n, released = tonumber(ARGV[1]), 0
for i = 2, n + 1 do
  local h = redis.call('HGETALL', 'hold:' .. ARGV[i])
  for k = 1, #h, 2 do
    local bud = 'bud:' .. h[k]
    if redis.call('HINCRBY', bud, 'held', '-' .. h[k + 1]) < 0 then redis.call('HSET', bud, 'held', 0) end  -- cache was lost since
  end
  if #h > 0 then
    released = released + 1
    redis.call('DEL', 'hold:' .. ARGV[i]); redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
for i = n + 2, #ARGV, 4 do
  local bud = 'bud:' .. ARGV[i]
  local ver = tonumber(redis.call('HGET', bud, 'ver') or '-1')
  if tonumber(ARGV[i + 2]) > ver then redis.call('HSET', bud, 'avail', ARGV[i + 1], 'ver', ARGV[i + 2]) end
  if ARGV[i + 3] ~= '0' then redis.call('PEXPIRE', bud, ARGV[i + 3]) end
end
return released
