-- Lay a job down until an endpoint is free: queued without a doorbell; the reaper rings when it is due.
-- KEYS: 1 job  2 jobs:due   ARGV: 1 job id  2 epoch  3 attempt index  4 pool  5 wait ms  6 history
--       7 trail  8 queue to ring on
-- -> ok | fenced | sent | cancelled (its client left: the caller ends it) | <state>
local j = redis.call('HMGET', KEYS[1], 'ep', 'st', 'sent', 'cx')
if j[1] ~= ARGV[2] then return 'fenced' end
if j[3] == '1' then return 'sent' end
if j[2] ~= 'running' then return j[2] end
if j[4] == '1' then return 'cancelled' end
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
local wake = now + tonumber(ARGV[5])
redis.call('HINCRBY', KEYS[1], 'ep', 1)                               -- fences whoever held it
-- 'at' is when it begins to wait for a worker: what counts against those that leave it unclaimed.
redis.call('HSET', KEYS[1], 'st', 'queued', 'att', ARGV[3], 'pool', ARGV[4], 'wk', '', 'rings', 0, 'hist', ARGV[6],
  'trail', ARGV[7], 'q', ARGV[8], 'at', string.format('%.0f', wake))
redis.call('ZADD', KEYS[2], wake, ARGV[1])
return 'ok'
