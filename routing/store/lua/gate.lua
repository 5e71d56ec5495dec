-- May an endpoint be called? When its pause is over, one caller in the whole fleet gets the probe, on a lease.
-- KEYS: 1 breaker   ARGV: 1 token  2 probe lease ms   -> {go|probe|open|parked, ms to wait}
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
local s = redis.call('HMGET', KEYS[1], 'st', 'until')
if not s[1] then return {'go', 0} end
if now < tonumber(s[2]) then                                          -- paused, or a probe is out
  return {s[1] == 'parked' and 'parked' or 'open', tonumber(s[2]) - now}
end
redis.call('HSET', KEYS[1], 'st', 'half', 'probe', ARGV[1], 'until', string.format('%.0f', now + tonumber(ARGV[2])))
return {'probe', 0}
