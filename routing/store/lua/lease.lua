-- Calls of an endpoint that takes only so many at once are still in flight.
-- KEYS: 1 calls at once
-- ARGV: 1 lease ms  2… tokens
-- -> OK
local t = redis.call('TIME'); local ends = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], string.format('%.0f', ends), ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return redis.status_reply('OK')
