-- Cache a key as it was read from SQL, unless it was changed meanwhile.
-- KEYS: 1 record  2 mark   ARGV: 1 mark seen before the read ('' = none)  2 record  3 ttl ms
-- -> 1 | 0
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
