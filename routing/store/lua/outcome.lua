-- What calls to an endpoint came to: reported at first byte, at failure before it, or at a broken stream.
-- KEYS: 1 breaker  2 window  3 health:unstable
-- ARGV: 1 token  2 ok|err|limited  3 how many  4 pause ms (Retry-After)  5 window ms  6 bucket ms  7 min samples
--       8 error percent  9 base open ms  10 max open ms  11 unstable min errors  12 unstable percent  13 endpoint
--       14 shortest park of a probe ms  15 1: the caller was a probe, if perhaps of an earlier lease
-- -> closed | open | reopened | tripped | parked
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function pause(state, ms, trips)
  redis.call('HSET', KEYS[1], 'st', state, 'until', string.format('%.0f', now + ms), 'trips', trips, 'probe', '')
  redis.call('PEXPIRE', KEYS[1], math.max(3600000, ms))
end
local function shaky(ms) redis.call('ZADD', KEYS[3], now + ms, ARGV[13]) end
local s = redis.call('HMGET', KEYS[1], 'st', 'probe', 'trips')
if s[1] == 'half' and (s[2] == ARGV[1] or (ARGV[15] == '1' and ARGV[2] == 'ok')) then
  if ARGV[2] == 'ok' then redis.call('DEL', KEYS[1], KEYS[2]); return 'closed' end
  if ARGV[2] == 'limited' then                                        -- it is back, and busy: no outage
    pause('parked', math.max(tonumber(ARGV[4]), tonumber(ARGV[14])), tonumber(s[3] or '0'))
    return 'parked'
  end
  local trips = tonumber(s[3] or '0') + 1
  local ms = math.min(tonumber(ARGV[9]) * 2 ^ (trips - 1), tonumber(ARGV[10]))
  ms = math.max(ms, tonumber(ARGV[4]))
  pause('open', ms, trips); shaky(ms)
  return 'reopened'
end
if s[1] then return 'open' end                                        -- late news of calls made before the trip
if ARGV[2] == 'limited' then                                          -- not an outage: paused for Retry-After only
  if tonumber(ARGV[4]) > 0 then pause('parked', tonumber(ARGV[4]), 0) end
  return 'parked'
end
local size = tonumber(ARGV[6])
local bucket = math.floor(now / size)
local count = redis.call('HINCRBY', KEYS[2], bucket .. (ARGV[2] == 'ok' and ':o' or ':e'), ARGV[3])
redis.call('PEXPIRE', KEYS[2], 2 * tonumber(ARGV[5]))
if ARGV[2] == 'ok' and count > tonumber(ARGV[3]) then return 'closed' end  -- a success never trips; prune once a bucket
local oldest = bucket - math.floor(tonumber(ARGV[5]) / size)
local f, ok, er = redis.call('HGETALL', KEYS[2]), 0, 0
for i = 1, #f, 2 do
  local b = tonumber(string.match(f[i], '^%d+'))
  if b <= oldest then redis.call('HDEL', KEYS[2], f[i])
  elseif string.sub(f[i], -1) == 'o' then ok = ok + tonumber(f[i + 1]) else er = er + tonumber(f[i + 1]) end
end
if ARGV[2] == 'ok' then return 'closed' end
local share = er * 100 / (er + ok)
if er >= tonumber(ARGV[11]) and share >= tonumber(ARGV[12]) then shaky(tonumber(ARGV[5])) end
if er + ok >= tonumber(ARGV[7]) and share >= tonumber(ARGV[8]) then
  local ms = math.max(tonumber(ARGV[9]), tonumber(ARGV[4]))
  pause('open', ms, 1); shaky(ms)                                     -- planned around no longer than paused
  redis.call('DEL', KEYS[2])
  return 'tripped'
end
return 'closed'
