-- One page of names, and what is under each: no name crosses the network twice, and what was just found is read while it
-- is at hand.
--
-- ARGV, beyond what reading takes: the cursor; COUNT; a pattern, or nothing; how many bytes may be read in all; and pairs
-- of a beginning of names, up to its first colon or as far as it is looked at, and a letter for the type that a key with it
-- is guessed to have, or x where it is not to be read.
-- Answers where the next page begins, how many commands it took, and for each name value and life, packed; the life is -3
-- where the key was not read.
local cursor, count, pattern, left, letters, out = ARGV[5], ARGV[6], ARGV[7], tonumber(ARGV[8]), {}, {}
for i = 9, #ARGV, 2 do letters[ARGV[i]] = ARGV[i + 1] end
local page
if #pattern > 0 then
  page = call('SCAN', cursor, 'COUNT', count, 'MATCH', pattern)
else
  page = call('SCAN', cursor, 'COUNT', count)
end
calls = calls + 1
local names, find, sub = page[2], string.find, string.sub

local function bytes(value)
  if type(value) == 'string' then return #value end
  local sum = 0
  for _, item in ipairs(value and value[3] or {}) do sum = sum + #item end
  return sum
end

for i = 1, #names do
  local name, value, life, failed = names[i], false, -3, nil
  local at = find(name, ':', 1, true)
  if not at or at > 65 then at = 65 end
  local letter = letters[sub(name, 1, at - 1)]
  if letter ~= 'x' and left > 0 then
    value, life, failed = read(name, kinds[letter])
    if failed then
      value, life = false, -3
    else
      left = left - bytes(value)
    end
  end
  out[3 * i - 2], out[3 * i - 1], out[3 * i] = name, value, life
end
return {page[1], calls, cmsgpack.pack(out)}
