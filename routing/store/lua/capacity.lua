-- What one process learnt of an endpoint: it answered that it has too much to do, it answered well, tokens it took.
-- KEYS: 1 learnt limit  2 users  3 rate
-- ARGV: 1 calls in flight when it said it has too much (0: it did not)  2 answers it gave
--       3 us to correct its rate of tokens by  4 share of the limit left after a cut  5 ms between two cuts
--       6 ms until a limit is forgotten  7 how long a process counts as a user, ms  8 least limit
-- -> the limit, or 0
local t = redis.call('TIME'); local us = t[1] * 1000000 + t[2]; local now = math.floor(us / 1000)
local s = redis.call('HMGET', KEYS[1], 'limit', 'cut')
local limit = tonumber(s[1] or '0')
local function keep(n) limit = math.max(tonumber(ARGV[8]), n); redis.call('HSET', KEYS[1], 'limit', string.format('%.4f', limit)) end
if tonumber(ARGV[1]) > 0 then
  if limit == 0 or now - tonumber(s[2]) >= tonumber(ARGV[5]) then
    local users = redis.call('ZCOUNT', KEYS[2], '(' .. string.format('%.0f', now - tonumber(ARGV[7])), '+inf')
    if limit == 0 then limit = tonumber(ARGV[1]) * math.max(1, users) end
    keep(limit * tonumber(ARGV[4]))
    redis.call('HSET', KEYS[1], 'cut', string.format('%.0f', now))
  end
  redis.call('PEXPIRE', KEYS[1], ARGV[6])
elseif limit > 0 and tonumber(ARGV[2]) > 0 then
  keep(limit + tonumber(ARGV[2]) / limit)
end
if tonumber(ARGV[3]) ~= 0 then
  local from = tonumber(redis.call('HGET', KEYS[3], 't') or '0')
  if tonumber(ARGV[3]) > 0 then from = math.max(us, from) end
  from = from + tonumber(ARGV[3])
  if from > us then
    redis.call('HSET', KEYS[3], 't', string.format('%.0f', from))
    redis.call('PEXPIRE', KEYS[3], math.ceil((from - us) / 1000) + 60000)
  else
    redis.call('HDEL', KEYS[3], 't')
  end
end
return string.format('%.4f', limit)
