-- The reaper's take: overdue job ids, hidden for a while so that two reapers never take one at once.
-- KEYS: 1 jobs:due   ARGV: 1 most  2 hide ms
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), id) end
return ids
