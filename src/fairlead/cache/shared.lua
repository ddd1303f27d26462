-- What a shared store of answers does in one step. ARGV[1] names it.
--
-- put    KEYS: entry, index       ARGV: digest, blob, milliseconds that it is kept
-- drop   KEYS: entry, index       ARGV: digest
-- walk   KEYS: index              ARGV: start of the entries' keys, first rank, count, tenant or "",
--                                       made before, "1" to delete
--
-- The index of a group is a sorted set of digests by the server's milliseconds at which they end. Entries'
-- keys are in the slot of their index. `walk` returns how many it looked at, how many are gone from the
-- index, and tenant and size of each that is meant.

local what = ARGV[1]

if what == 'drop' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[2])
  return 1
end

if what == 'put' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local kept = tonumber(ARGV[4])
  redis.call('SET', KEYS[1], ARGV[3], 'PX', kept)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  redis.call('ZADD', KEYS[2], now + kept, ARGV[2])
  if redis.call('PTTL', KEYS[2]) < kept then
    redis.call('PEXPIRE', KEYS[2], kept)
  end
  return 1
end

local digests = redis.call('ZRANGE', KEYS[1], ARGV[3], ARGV[3] + ARGV[4] - 1)
local gone = 0
local found = {}
for _, digest in ipairs(digests) do
  local key = ARGV[2] .. digest
  local size = redis.call('STRLEN', key)
  local head = redis.call('GETRANGE', key, 0, 43)
  local meant, tenant = false, ''
  if size >= 44 then
    local facts = struct.unpack('<I2', head, 3)
    local created = struct.unpack('<d', head, 5)
    local fine, read = pcall(cmsgpack.unpack, redis.call('GETRANGE', key, 44, 43 + facts))
    if fine and type(read) == 'table' and type(read[2]) == 'string' then
      tenant = read[2]
      meant = created < tonumber(ARGV[6]) and (ARGV[5] == '' or ARGV[5] == tenant)
    else
      meant = true  -- nobody can be given it
    end
  elseif size == 0 then
    redis.call('ZREM', KEYS[1], digest)
    gone = gone + 1
  else
    meant = true
  end
  if meant then
    found[#found + 1] = tenant
    found[#found + 1] = size
    if ARGV[7] == '1' then
      redis.call('DEL', key)
      redis.call('ZREM', KEYS[1], digest)
      gone = gone + 1
    end
  end
end
return {#digests, gone, found}
