-- Hold all that is free of one scope, for money that is about to leave it. Safe to repeat: then it tells the same.
-- KEYS: 1 budget  2 hold  3 holds:due   ARGV: 1 scope  2 id of the hold  3 ms it lives, if nobody gives it back
-- -> nano held | -1 the balance is not cached
local known = redis.call('HGET', KEYS[2], ARGV[1])
if known then return known end
local b = redis.call('HMGET', KEYS[1], 'avail', 'held')
if not b[1] then return '-1' end
local free = tonumber(b[1]) - tonumber(b[2] or '0')
if free <= 0 then return '0' end
local nano = string.format('%.0f', free)
local t = redis.call('TIME')
redis.call('HINCRBY', KEYS[1], 'held', nano)
redis.call('HSET', KEYS[2], ARGV[1], nano)
redis.call('ZADD', KEYS[3], math.floor(t[1] * 1000 + t[2] / 1000) + tonumber(ARGV[3]), ARGV[2])
return nano
