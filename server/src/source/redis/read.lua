-- Reads value and remaining life of many keys. Strings come as they are, other types as {type, size, items}, or
-- {type, size} when they are too large. Any error but a wrong type is the answer.
--
-- KEYS: the keys. Where they are of several slots of a cluster, they follow the other arguments instead.
-- ARGV: the most bytes of a string, items of another type, and bytes of memory, as text because Lua writes numbers with
-- seventeen digits; a letter for the type that each key is guessed to have; what counts as small.
-- Answers how many commands it took, and for each key value and life, packed.
local call, try, keys, before, n, out = redis.call, redis.pcall, KEYS, 0, #KEYS, {}
if n == 0 then keys, before, n = ARGV, 5, #ARGV - 5 end
local most_bytes, most_items, most_memory = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local guesses, small, calls = ARGV[4], tonumber(ARGV[5]), 0
local guessing = #guesses > 0
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

for i = 1, n do
  local key, value, life = keys[before + i], nil, nil
  if guessing then
    local kind = kinds[string.sub(guesses, i, i)]
    if kind then value, life = guessed(kind, key) end
  end
  if not life then
    life = try('PTTL', key)
    calls = calls + 1
    if type(life) == 'table' then
      if before == 0 then return life end
      value, life = false, -3
    elseif life == -2 then
      value = ''
    end
  end
  if value == nil then
    value = try('GETRANGE', key, '0', most_bytes)
    calls = calls + 1
    if type(value) == 'table' then
      if string.sub(value.err, 1, 9) == 'WRONGTYPE' then
        value = asked(key)
      elseif before == 0 then
        return value
      else
        value, life = false, -3
      end
    end
  end
  out[2 * i - 1] = value
  out[2 * i] = life
end
return {calls, cmsgpack.pack(out)}
