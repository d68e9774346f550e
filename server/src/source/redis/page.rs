//! A page of names together with what is under each, in one step of the store.
//!
//! Names that are found first and read afterwards cross the network twice, and the store looks each of them up when it has
//! long left what the processor has at hand. Together they cost it a sixth less, and us a third.

use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::LuaInterface;
use fred::types::{Key, Value as Reply};
use lockkeeper_model::Time;

use super::dialect::Raw;
use super::pace::Purpose;
use super::packed::Packed;
use super::read::{Keys, MORE_AT_MOST, REFUSED, odd, raw};
use super::trouble::is_of_connection;
use crate::clock;

/// See the script.
const PAGE: &str = concat!(include_str!("values.lua"), include_str!("page.lua"));

/// How many keys one page reads, about: a millisecond of the store's time; and where nobody else is there who could wait,
/// because between two pages the store waits for us.
const KEYS: u64 = 300;
const KEYS_ALONE: u64 = 600;

/// The largest `COUNT` where a pattern leaves out most names: looking at one that is left out takes a tenth of reading
/// one.
const MOST_NAMES: u64 = 5_000;

/// What one page may read in all, in bytes: as much as a reading of small keys comes to many times over. Names beyond it
/// are read by themselves.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// A page.
pub(super) struct Page {
    /// Names, and what is under those that were read.
    pub(super) names: Vec<(Bytes, Option<Raw>)>,
    /// Where the next page begins.
    pub(super) next: Bytes,
    /// Buckets that it went through.
    pub(super) looked_at: u64,
    /// When it was asked for, and when its answer was there.
    pub(super) asked_at: Time,
    pub(super) read_at: Time,
}

/// Asks for one page after the other, each as large as the one before says is right.
pub(super) struct Pages<'a> {
    keys: &'a Keys,
    client: &'a Client,
    narrowing: &'a str,
    count: u64,
}

impl<'a> Pages<'a> {
    /// Of all keys, or of those with this pattern.
    pub(super) fn new(keys: &'a Keys, client: &'a Client, narrowing: Option<&'a str>) -> Pages<'a> {
        Pages { keys, client, narrowing: narrowing.unwrap_or_default(), count: KEYS }
    }

    /// The page at a cursor; `None` where the store runs no such script, for whatever reason.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(super) async fn at(&mut self, cursor: Bytes) -> Result<Option<Page>, Error> {
        let keys = self.keys;
        if !keys.may_script_over_all() {
            return Ok(None);
        }
        keys.pacer.take(1, Purpose::Scan).await;
        let more = self.count * (2 + MORE_AT_MOST);
        keys.pacer.may_run(more);
        let mut arguments = keys.limits();
        arguments.extend([
            Reply::Bytes(cursor),
            self.count.to_string().into(),
            self.narrowing.into(),
            MAX_PAGE_BYTES.to_string().into(),
        ]);
        arguments.extend(keys.guess.letters());
        let asked_at = clock::now();
        let answer = self.client.eval::<Reply, _, _, _>(PAGE, Vec::<Key>::new(), arguments).await;
        let read_at = clock::now();
        let (page, calls) = match answer {
            Ok(reply) => answered(reply).ok_or_else(odd)?,
            Err(error) if is_of_connection(&error) => return Err(error),
            // The commands by themselves find out which of them is refused.
            Err(_) => {
                keys.pacer.ran(1 + more, 0);
                return Ok(None);
            }
        };
        keys.pacer.ran(1 + more, calls);
        let (names, next) = page;
        let looked_at = self.count;
        let read = || names.iter().filter_map(|(_, raw)| raw.as_ref());
        keys.guess.learn(read());
        self.resize(read().count() as u64);
        keys.pacer.pay(calls, Purpose::Scan).await;
        Ok(Some(Page { names, next, looked_at, asked_at, read_at }))
    }

    fn resize(&mut self, read: u64) {
        let wanted = if self.keys.pacer.is_crowded() { KEYS } else { KEYS_ALONE };
        // Not more than twice as many at once: what lies ahead need not be like what was passed.
        let fitting = self.count * wanted / read.max(1);
        self.count = fitting.min(self.count * 2).clamp(wanted, MOST_NAMES);
    }
}

/// Names with what was read, and where the next page begins.
type Found = (Vec<(Bytes, Option<Raw>)>, Bytes);

fn answered(reply: Reply) -> Option<(Found, u64)> {
    let Reply::Array(parts) = reply else { return None };
    let [next, calls, packed] = <[Reply; 3]>::try_from(parts).ok()?;
    let mut packed = Packed::list(packed.into_bytes()?)?;
    let mut names = Vec::with_capacity(packed.left() / 3);
    while packed.left() > 0 {
        let (name, value, life) = (packed.next()?.into_bytes()?, packed.next()?, packed.next()?.as_i64()?);
        let read = (life != REFUSED).then(|| raw(&name, value, life));
        names.push((name, read));
    }
    Some(((names, next.into_bytes()?), calls.as_u64()?))
}
