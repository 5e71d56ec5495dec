-- Take a queued job. Raises the epoch: the fencing token of everything the claimer writes.
-- KEYS: 1 job  2 req  3 jobs:due   ARGV: 1 job id  2 worker  3 lease ms
-- -> {1, epoch, front door, spec, attempt index, deadline ms, history, waited ms, request, trail} or {0, why not}
local j = redis.call('HMGET', KEYS[1], 'st', 'cx', 'fd', 'spec', 'att', 'dl', 'hist', 'at', 'trail')
if not j[1] then return {0, 'gone'} end
if j[1] ~= 'queued' then return {0, j[1]} end                         -- a doorbell rung twice
if j[2] == '1' then return {0, 'cancelled'} end
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
if now > tonumber(j[6]) then return {0, 'late'} end                   -- the reaper ends it
local ep = redis.call('HINCRBY', KEYS[1], 'ep', 1)
redis.call('HSET', KEYS[1], 'st', 'running', 'wk', ARGV[2])
redis.call('ZADD', KEYS[3], now + tonumber(ARGV[3]), ARGV[1])
return {1, ep, j[3], j[4], j[5], j[6], j[7], now - tonumber(j[8]), redis.call('GET', KEYS[2]), j[9] or ''}
