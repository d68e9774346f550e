-- Reading the value and remaining life of one key. Strings come as they are, other types as {type, size, items}, or
-- {type, size} when they are too large.
--
-- ARGV: the most bytes of a string, items of another type, and bytes of memory, as text because Lua writes numbers with
-- seventeen digits; what counts as small.
local call, try, calls = redis.call, redis.pcall, 0
local most_bytes, most_items, most_memory, small = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local sizes = {hash = 'HLEN', zset = 'ZCARD', set = 'SCARD', list = 'LLEN'}
local kinds = {h = 'hash', z = 'zset', t = 'set', l = 'list'}

local function all(kind, key, how)
  if kind == 'hash' then return how('HGETALL', key)
  elseif kind == 'zset' then return how('ZRANGE', key, '0', '-1', 'WITHSCORES')
  elseif kind == 'set' then return how('SMEMBERS', key)
  else return how('LRANGE', key, '0', tostring(most_items - 1)) end
end

local function asked(key)
  local kind = call('TYPE', key).ok
  local value = {kind}
  calls = calls + 1
  if sizes[kind] then
    local size = call(sizes[kind], key)
    value[2] = size
    calls = calls + 1
    if size <= most_items or kind == 'list' then
      calls = calls + 1
      if call('MEMORY', 'USAGE', key, 'SAMPLES', ARGV[2]) <= most_memory then
        value[3] = all(kind, key, call)
        calls = calls + 1
      end
    end
  end
  return value
end

-- Nothing, where the guess was wrong or the key is not small.
local function guessed(kind, key)
  local usage = try('MEMORY', 'USAGE', key, 'SAMPLES', ARGV[2])
  calls = calls + 1
  if not usage then return '', -2 end
  if type(usage) == 'table' or usage > small then return nil end
  local items = all(kind, key, try)
  calls = calls + 1
  if items.err then return nil end
  local size = #items
  if kind == 'hash' or kind == 'zset' then size = size / 2 end
  if size > most_items or (kind == 'list' and size == most_items) then return nil end
  return {kind, size, items}
end

-- Value and life; or nothing, and the error that is none of a wrong type.
local function read(key, kind)
  local value, life = nil, nil
  if kind then value, life = guessed(kind, key) end
  if not life then
    life = try('PTTL', key)
    calls = calls + 1
    if type(life) == 'table' then return nil, nil, life end
    if life == -2 then value = '' end
  end
  if value == nil then
    value = try('GETRANGE', key, '0', most_bytes)
    calls = calls + 1
    if type(value) == 'table' then
      if string.sub(value.err, 1, 9) ~= 'WRONGTYPE' then return nil, nil, value end
      value = asked(key)
    end
  end
  return value, life
end
