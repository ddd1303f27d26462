-- What gateways tell each other of the service that they gave. `limits/gossip.py` is the only caller.
--
-- KEYS[1] a stream of what was told lately: r replica, s sequence number, p payload
-- ARGV[1] replica, ARGV[2] sequence number, ARGV[3] payload or "" when there is nothing to tell,
-- ARGV[4] the last id that was read, or "" for only from now on, ARGV[5] milliseconds that entries are kept.
-- Returns the stream's last id, and up to 500 entries after ARGV[4], the caller's own included.

local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local kept_ms = tonumber(ARGV[5])

if ARGV[3] ~= '' then
  redis.call('XADD', KEYS[1], 'MINID', string.format('%.0f', now_ms - kept_ms), '*',
    'r', ARGV[1], 's', ARGV[2], 'p', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], 2 * kept_ms)
end
local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = newest[1] and newest[1][1] or '0-0'
if ARGV[4] == '' then return {last, {}} end
local entries = {}
for i, entry in ipairs(redis.call('XRANGE', KEYS[1], '(' .. ARGV[4], '+', 'COUNT', 500)) do
  local fields = entry[2]
  entries[i] = {entry[1], fields[2], fields[4], fields[6]}
end
return {last, entries}
