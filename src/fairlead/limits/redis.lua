-- The state of one tree of tenants, changed in one step. `limits/redis.py` is the only caller.
--
-- KEYS[1] state  hash: limit id -> "r TAT" (rates), "u START END USED RESERVED" (budgets), "c TAKEN" (places)
-- KEYS[2] open   hash: request id -> msgpack {expires, phase, {{limit id, kind, held, ...}, ...}}
-- KEYS[3] due    sorted set: request id, by when its record next needs attention
-- ARGV[1] what to do, ARGV[2] its arguments in msgpack; the answer is msgpack too.
--
-- Times are whole microseconds, by this server's clock, and the costs of rates are microseconds of refill
-- (limits/bucket.py). All numbers are integers below 2^53, which Lua's numbers hold exactly; they are
-- written with %.0f, because tostring() keeps 14 digits only.
-- Every key is declared and in one slot. A missing state is a limit that nothing was taken from.

local STATE, OPEN, DUE = KEYS[1], KEYS[2], KEYS[3]
-- Phases of a record: reserved; expired, so that only a late settlement still needs it; finished, so that
-- what arrives late or again changes nothing.
local HELD, LAPSED, DONE = 0, 1, 2
local GRACE = 3600 * 1000000 -- how long a record stays in the last two
local NEVER = -1
local PLACE_WAIT = 1000000 -- nobody knows when a place becomes free: ask again soon
local SPAN = 1000 -- limits read with one command: Lua's stack is not endless
local COLLECT = 100 -- expired records that one call looks after, unless its answer depends on more

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

-- Limits as read from the store and changed by this call: id -> {kind, ...}; written back by `save`.
local loaded, changed = {}, {}

local function parse(text)
  if not text then return nil end
  local kind = string.sub(text, 1, 1)
  if kind == 'u' then
    local first, last, used, reserved = string.match(text, '^u (%d+) (%d+) (%d+) (%d+)$')
    return {kind = 'u', first = tonumber(first), last = tonumber(last), used = tonumber(used), reserved = tonumber(reserved)}
  end
  return {kind = kind, value = tonumber(string.sub(text, 3))}
end

local function load(ids)
  local missing = {}
  for _, id in ipairs(ids) do
    if loaded[id] == nil then
      loaded[id] = false
      missing[#missing + 1] = id
    end
  end
  for first = 1, #missing, SPAN do
    local last = math.min(first + SPAN - 1, #missing)
    for i, text in ipairs(redis.call('HMGET', STATE, unpack(missing, first, last))) do
      loaded[missing[first + i - 1]] = parse(text) or false
    end
  end
end

local function save()
  for id in pairs(changed) do
    local limit = loaded[id]
    local void = (limit.kind == 'r' and limit.value <= now) or (limit.kind == 'c' and limit.value <= 0)
    if void then
      redis.call('HDEL', STATE, id)
    elseif limit.kind == 'u' then
      redis.call('HSET', STATE, id,
        string.format('u %.0f %.0f %.0f %.0f', limit.first, limit.last, limit.used, limit.reserved))
    else
      redis.call('HSET', STATE, id, string.format('%s %.0f', limit.kind, limit.value))
    end
  end
end

-- {first, last} of the window that holds now, or nil when the caller's guess is none.
-- A window never gives way to an earlier one, so neither a clock that is set back nor a
-- caller with other rules for the time zone brings spent money back.
local function window(id, first, last, next_last)
  local stored = loaded[id]
  if now >= last then first, last = last, next_last end
  if stored and stored.first >= first then return stored end
  if now < first or now >= last then return nil end
  local fresh = {kind = 'u', first = first, last = last, used = 0, reserved = 0}
  loaded[id] = fresh
  return fresh
end

-- Changes a limit by one item of a record: `back` is returned of what it held, `charge` is used for good.
-- item = {limit id, kind, held}, and for budgets the beginning of the window.
local function apply(item, back, charge)
  local id, kind = item[1], item[2]
  local limit = loaded[id]
  if kind == 'u' then
    if not limit or limit.first ~= item[4] then return end -- its window is over
    limit.reserved = math.max(0, limit.reserved - back)
    limit.used = limit.used + charge
  elseif kind == 'c' then
    if not limit then return end
    limit.value = math.max(0, limit.value - back)
  else
    if charge == back then return end
    local tat = limit and limit.value or 0
    if charge > back then
      tat = math.max(tat, now) + charge - back
    else
      tat = math.max(tat - (back - charge), math.min(tat, now))
    end
    loaded[id] = {kind = 'r', value = tat}
  end
  changed[id] = true
end

local function ids_of(items)
  local ids = {}
  for i, item in ipairs(items) do ids[i] = item[1] end
  return ids
end

local function record_of(id)
  local packed = redis.call('HGET', OPEN, id)
  return packed and cmsgpack.unpack(packed)
end

local function keep(id, expires, phase, items)
  redis.call('HSET', OPEN, id, cmsgpack.pack({expires, phase, items}))
  redis.call('ZADD', DUE, string.format('%.0f', expires), id)
end

local function forget(id)
  redis.call('HDEL', OPEN, id)
  redis.call('ZREM', DUE, id)
end

-- Gives back what an expired record holds, except the count of requests.
local function lapse(id, record)
  load(ids_of(record[3]))
  for _, item in ipairs(record[3]) do
    if item[2] ~= 'r' then
      apply(item, item[3], 0)
      item[3] = 0
    end
  end
  keep(id, now + GRACE, LAPSED, record[3])
end

-- Looks after expired records. True when there may be more.
local function collect()
  local ids = redis.call('ZRANGEBYSCORE', DUE, '-inf', string.format('%.0f', now), 'LIMIT', 0, COLLECT)
  for _, id in ipairs(ids) do
    local record = record_of(id)
    if record and record[2] == HELD then lapse(id, record) else forget(id) end
  end
  return #ids == COLLECT
end

-- Limits that nobody asks for any more leave nothing behind: each admission looks at one, by chance.
local function tidy()
  local id = redis.call('HRANDFIELD', STATE)
  if not id or loaded[id] then return end
  local limit = parse(redis.call('HGET', STATE, id))
  if limit and ((limit.kind == 'r' and limit.value <= now) or (limit.kind == 'u' and limit.last <= now)) then
    redis.call('HDEL', STATE, id)
  end
end

-- A limit as the caller reads it: {TAT}, {places taken} or {first, last, used, reserved}.
local function shown(id, kind)
  local limit = loaded[id]
  if not limit then return kind == 'u' and {0, 0, 0, 0} or {0} end
  if kind == 'u' then return {limit.first, limit.last, limit.used, limit.reserved} end
  return {limit.value}
end

-- asks: {{limit id, kind, cost, most that can be taken at once, 1 for shadow}, ...}, for budgets with
-- first, last, next last after that. Loads them; false when a window of the caller does not hold now.
local function prepare(asks)
  load(ids_of(asks))
  for _, ask in ipairs(asks) do
    if ask[2] == 'u' and not window(ask[1], ask[6], ask[7], ask[8]) then return false end
  end
  return true
end

-- Microseconds until an ask fits: 0 now, NEVER when it is above what can be taken at once.
local function wait_of(ask)
  local kind, cost, most = ask[2], ask[3], ask[4]
  local limit = loaded[ask[1]]
  local wait
  if kind == 'u' then
    wait = limit.used + limit.reserved + cost > most and math.max(1, limit.last - now) or 0
  elseif kind == 'c' then
    wait = (limit and limit.value or 0) + cost > most and PLACE_WAIT or 0
  else
    wait = math.max(0, math.max(limit and limit.value or 0, now) + cost - most - now)
  end
  return cost > most and NEVER or wait
end

-- The refusal with the longest wait, and what shadow limits would have refused: {index from 0, wait} each.
local function judge(asks)
  local refused, shadowed = nil, {}
  for i, ask in ipairs(asks) do
    local wait = wait_of(ask)
    if wait ~= 0 then
      if ask[5] == 1 then
        shadowed[#shadowed + 1] = {i - 1, wait}
      elseif not refused or (refused[2] ~= NEVER and (wait == NEVER or wait > refused[2])) then
        refused = {i - 1, wait}
      end
    end
  end
  return refused, shadowed
end

local function take(ask)
  local id, kind, cost = ask[1], ask[2], ask[3]
  local limit = loaded[id]
  changed[id] = true
  if kind == 'u' then
    limit.reserved = limit.reserved + cost
    return {id, kind, cost, limit.first}
  elseif kind == 'c' then
    loaded[id] = {kind = 'c', value = (limit and limit.value or 0) + cost}
  else
    loaded[id] = {kind = 'r', value = math.max(limit and limit.value or 0, now) + cost}
  end
  return {id, kind, cost}
end

local function values(asks)
  local list = {}
  for i, ask in ipairs(asks) do list[i] = shown(ask[1], ask[2]) end
  return list
end

local operations = {}

-- {request id, ttl, asks} -> {"ok", now, expires, values, shadowed} | {"refused", now, {ask, wait}, values} | {"window", now}
function operations.admit(id, ttl, asks)
  local more = collect()
  if not prepare(asks) then
    save()
    return {'window', now}
  end
  local record = record_of(id)
  if record and record[2] == HELD and record[1] <= now then
    lapse(id, record) -- not collected yet
  elseif record and record[2] ~= LAPSED then
    save()
    return {'ok', now, record[1], values(asks), {}}
  end
  local refused, shadowed = judge(asks)
  while more and (refused or #shadowed > 0) do
    more = collect()
    refused, shadowed = judge(asks)
  end
  if refused then
    save()
    return {'refused', now, refused, values(asks)}
  end
  local spared = {}
  for _, one in ipairs(shadowed) do spared[one[1] + 1] = true end
  local items = {}
  for i, ask in ipairs(asks) do
    if not spared[i] then items[#items + 1] = take(ask) end
  end
  keep(id, now + ttl, HELD, items)
  save()
  tidy()
  return {'ok', now, now + ttl, values(asks), shadowed}
end

-- {request id, {limit id = cost}} -> {"ok", now, {{limit id, value}, ...}}; a limit without cost keeps what it held
function operations.settle(id, costs)
  local record = record_of(id)
  if not record or record[2] == DONE then return {'ok', now, {}} end
  load(ids_of(record[3]))
  local list = {}
  for i, item in ipairs(record[3]) do
    apply(item, item[3], costs[item[1]] or item[3])
    list[i] = {item[1], shown(item[1], item[2])}
  end
  forget(id)
  save()
  return {'ok', now, list}
end

-- {request id, 1 when an admission of it may still be on its way} -> {"ok", now}
function operations.release(id, doubtful)
  local record = record_of(id)
  if record and record[2] ~= DONE then
    load(ids_of(record[3]))
    for _, item in ipairs(record[3]) do apply(item, item[3], 0) end
    save()
  end
  if doubtful == 1 then keep(id, now + GRACE, DONE, {}) elseif record then forget(id) end
  return {'ok', now}
end

-- What was used while this server could not be asked: {request id, asks with their true cost} -> {"ok", now}.
-- Whatever became of the reservation, and however often this is repeated, the costs are charged once.
function operations.charge(id, asks)
  local record = record_of(id)
  if record and record[2] == DONE then return {'ok', now} end
  load(ids_of(asks))
  if record then
    load(ids_of(record[3]))
    for _, item in ipairs(record[3]) do apply(item, item[3], 0) end
  end
  for _, ask in ipairs(asks) do
    if ask[2] == 'u' then
      -- Only into the window it was spent in.
      local limit = now < ask[7] and window(ask[1], ask[6], ask[7], ask[7])
      if limit then apply({ask[1], 'u', 0, ask[6]}, 0, ask[3]) end
    elseif ask[2] ~= 'c' then
      apply({ask[1], ask[2]}, 0, ask[3])
    end
  end
  keep(id, now + GRACE, DONE, {})
  save()
  return {'ok', now}
end

-- A slice that a gateway holds of one limit, renewed: {lease id, ttl, ask for what it wants to hold, all that it
-- ever used of its slices, how much of that was told before, what it must keep} -> {"ok", now, held, value} |
-- {"window", now}. What was used is a running total, so repeating a call adds nothing.
function operations.lease(id, ttl, ask, total, told, least)
  while collect() do end
  if not prepare({ask}) then
    save()
    return {'window', now}
  end
  local name, kind, most = ask[1], ask[2], ask[4]
  local record = record_of(id)
  local item = record and record[3][1] or {name, kind, 0, 0, told}
  if kind == 'u' and item[4] ~= loaded[name].first then
    -- A new window: what was used and held in the last one stays there.
    item = {name, kind, 0, loaded[name].first, record and total or told}
  end
  apply(item, item[3], math.max(0, total - item[5]))
  local limit = loaded[name]
  local taken
  if kind == 'u' then
    taken = limit.used + limit.reserved
  else
    taken = limit and (kind == 'c' and limit.value or limit.value - now) or 0
  end
  local held = math.max(least, math.min(ask[3], math.max(0, most - math.max(0, taken))))
  take({name, kind, held})
  keep(id, now + ttl, HELD, {{name, kind, held, item[4], total}})
  save()
  return {'ok', now, held, shown(name, kind)}
end

-- {asks with cost 0} -> {"ok", now, values} | {"window", now}
function operations.look(asks)
  while collect() do end
  local known = prepare(asks)
  save()
  if not known then return {'window', now} end
  return {'ok', now, values(asks)}
end

-- The spent money of a window, from elsewhere, where this server has nothing of it: never added, never overwritten.
-- {ask} -> {"ok", now, 1 when it was taken over} | {"window", now}
function operations.seed(ask)
  load({ask[1]})
  local known = loaded[ask[1]]
  local limit = window(ask[1], ask[6], ask[7], ask[8])
  if not limit then return {'window', now} end
  if known == limit then return {'ok', now, 0} end
  limit.used = ask[3]
  changed[ask[1]] = true
  save()
  return {'ok', now, 1}
end

return cmsgpack.pack(operations[ARGV[1]](unpack(cmsgpack.unpack(ARGV[2]))))
