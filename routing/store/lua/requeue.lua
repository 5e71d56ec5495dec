-- Hand a job on: to the next endpoint's pool, or to another worker. Never once bytes were sent.
-- KEYS: 1 job  2 jobs:due  3 queue
-- ARGV: 1 job id  2 epoch  3 attempt index  4 pool  5 queue timeout ms  6 envelope  7 history  8 crashed (0|1)  9 max crashes
--       10 trail
-- -> ok | fenced | sent | poison | cancelled (its client left: the caller ends it) | <state>
local j = redis.call('HMGET', KEYS[1], 'ep', 'st', 'sent', 'rq', 'cx')
if j[1] ~= ARGV[2] then return 'fenced' end
if j[3] == '1' then return 'sent' end
if j[2] ~= 'running' then return j[2] end
if j[5] == '1' then return 'cancelled' end
if ARGV[8] == '1' then
  if tonumber(j[4]) >= tonumber(ARGV[9]) then return 'poison' end
  redis.call('HINCRBY', KEYS[1], 'rq', 1)
else
  redis.call('HSET', KEYS[1], 'hist', ARGV[7], 'trail', ARGV[10])
end
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HINCRBY', KEYS[1], 'ep', 1)                               -- fences whoever held it
redis.call('HSET', KEYS[1], 'st', 'queued', 'att', ARGV[3], 'pool', ARGV[4], 'wk', '', 'rings', 1, 'q', KEYS[3],
  'at', string.format('%.0f', now))
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[5]), ARGV[1])
redis.call('LPUSH', KEYS[3], ARGV[6])
return 'ok'
