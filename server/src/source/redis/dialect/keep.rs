//! What is done with a lock beside freeing it: an operator holds it for a while, it goes back to whom it was taken from,
//! its fencing counter is counted up.
//!
//! All of it fits every family whose holder is the value of a string or the only field of a hash, and whose clients leave
//! a token alone that is not theirs: which these are the traits say. Nobody is woken, as nobody could get in.

use std::sync::LazyLock;

use lockkeeper_model::{Certainty, Told};

use super::{ALL, Dialect, Script, Stored, most_ttl};
use crate::source::operator_hold::{self, OperatorHold};
use crate::source::{Act, DialectTraits, Form, Recognition, ReleaseOrder};

/// How locks of each family look while an operator holds them.
static HELD: LazyLock<Vec<&'static Recognition>> =
    LazyLock::new(|| ALL.iter().flat_map(|dialect| dialect.holdable()).map(held).collect());

/// A lock of this family while an operator holds it. It is freed as the family frees it, so that those who wait are woken.
fn held(family: &'static Recognition) -> &'static Recognition {
    let traits = DialectTraits {
        told: Told::AtOnce,
        told_because: "Nobody has to be told: no program holds it, an operator does.",
        comes_back: None,
        never_renews: Some("nothing renews it: it lapses by itself unless somebody extends it"),
        renewal_keeps_ms: None,
        identity: operator_hold::identity,
        taken_at: |_| None,
        ..*family.traits
    };
    Box::leak(Box::new(Recognition {
        dialect: family.dialect,
        certainty: Certainty::Certain,
        because: "a token that Lockkeeper put in the place of a holder of this family when somebody asked for it",
        traits: Box::leak(Box::new(traits)),
    }))
}

/// How a lock of the family of this name looks while an operator holds it; `None` where none may.
pub(super) fn recognition(dialect: &str) -> Option<&'static Recognition> {
    HELD.iter().copied().find(|recognition| recognition.dialect == dialect)
}

/// A string that an operator holds. Hashes are recognised by their families.
pub(super) fn recognise(stored: &Stored<'_>) -> Option<Form> {
    let token = stored.string()?;
    let recognition = recognition(OperatorHold::of(token)?.dialect)?;
    Some(Form::exclusive(recognition, token, stored.ttl_ms()))
}

/// The script for everything but freeing and evicting.
///
/// # Errors
/// Why there is none, in words.
pub(super) fn script(dialect: &dyn Dialect, order: &ReleaseOrder, now_ms: i64) -> Result<Script, String> {
    let mut keys: Vec<Vec<u8>> = order.keys.iter().map(|key| key.to_vec()).collect();
    // Named only where it is compared: the credential may not reach it.
    if order.fencing.is_some() {
        let none = || format!("locks of `{}` have no fencing counter that is known here", order.dialect);
        keys.push(dialect.fence_of(&order.key).ok_or_else(none)?);
    }
    let (code, operands) = match &order.act {
        Act::Hold { with, lease_ms } => (HOLD, vec![with.to_vec(), lease_ms.to_string().into_bytes()]),
        Act::ExtendHold { lease_ms } => (EXTEND, vec![lease_ms.to_string().into_bytes()]),
        Act::RaiseFence if order.fencing.is_none() => return Err("there is no fencing counter to raise".to_owned()),
        Act::RaiseFence => (RAISE, Vec::new()),
        Act::PutBack if order.expires_not_after.is_some_and(|at| at.0 <= now_ms) => {
            return Err("the lease that it had is over".to_owned());
        }
        Act::PutBack => (PUT_BACK, Vec::new()),
        Act::Release | Act::Evict => return Err("freeing is each family's own".to_owned()),
    };
    let kind: &[u8] = if dialect.holder_is_field() { b"hash" } else { b"string" };
    let compared = [
        kind.to_vec(),
        order.token.to_vec(),
        order.count.to_string().into_bytes(),
        most_ttl(order, now_ms),
        order.fencing.as_deref().unwrap_or_default().as_bytes().to_vec(),
    ];
    Ok(Script { code, keys, arguments: compared.into_iter().chain(operands).collect() })
}

/// A script that begins with what all of these share.
///
/// `differs` compares what a release compares, in the same way: type, token, count, that a field is alone, expiry, and the
/// fencing counter, whose key is the last one where it is compared. It answers nothing where all is as it was seen. The
/// length of a string is compared first so that a value that grew large is not copied.
macro_rules! keep {
    ($body:literal) => {
        concat!(
            r"
local kind, token, count, most, fence = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local locks = fence == '' and #KEYS or #KEYS - 1
local function differs()
  local missing = 0
  for i = 1, locks do
    local key = KEYS[i]
    local found = redis.call('TYPE', key).ok
    if found == 'none' then missing = missing + 1
    elseif found ~= kind then return {'changed'}
    else
      local ttl = redis.call('PTTL', key)
      if kind == 'string' then
        if redis.call('STRLEN', key) ~= #token or redis.call('GET', key) ~= token then return {'changed'} end
      else
        local has = redis.call('HGET', key, token)
        if not has or redis.call('HLEN', key) ~= 1 then return {'changed'} end
        if has ~= count then return {'touched', ttl} end
      end
      if (most == -1 and ttl ~= -1) or (most ~= -1 and (ttl == -1 or ttl > most)) then return {'touched', ttl} end
    end
  end
  if missing == locks then return {'gone'} end
  if missing > 0 then return {'changed'} end
  if fence ~= '' and redis.call('GET', KEYS[#KEYS]) ~= fence then return {'touched', -1} end
end
local function put(key, token, count, lease)
  if kind == 'string' then
    if lease == -1 then redis.call('SET', key, token) else redis.call('SET', key, token, 'PX', lease) end
    return
  end
  redis.call('DEL', key)
  redis.call('HSET', key, token, count)
  if lease ~= -1 then redis.call('PEXPIRE', key, lease) end
end
",
            $body
        )
    };
}

const HOLD: &str = keep!(
    r"
local other = differs()
if other then return other end
for i = 1, locks do put(KEYS[i], ARGV[6], '1', tonumber(ARGV[7])) end
return {'done'}
"
);

const EXTEND: &str = keep!(
    r"
local other = differs()
if other then return other end
for i = 1, locks do redis.call('PEXPIRE', KEYS[i], ARGV[6]) end
return {'done'}
"
);

/// By one: any number above the holder's is enough, and the next holder's is higher still.
const RAISE: &str = keep!(
    r"
local other = differs()
if other then return other end
return {'done', redis.call('INCR', KEYS[#KEYS])}
"
);

/// Whatever is there, of whatever type, is somebody's.
const PUT_BACK: &str = keep!(
    r"
for i = 1, locks do
  if redis.call('EXISTS', KEYS[i]) == 1 then return {'changed'} end
end
for i = 1, locks do put(KEYS[i], token, count, most) end
return {'done'}
"
);
