//! What the reading script answers: MessagePack, as Redis's `cmsgpack` writes it.

use bytes::{Buf, Bytes};
use fred::types::Value as Reply;
use rmp::Marker;

/// How deep a list may lie in others: the answer, a key's value, its items.
const MAX_DEPTH: usize = 4;

/// Unpacks an answer, value by value.
pub(super) struct Packed {
    rest: Bytes,
    /// Of the list that is the answer.
    left: usize,
}

impl Packed {
    /// The list of values in an answer; `None` where it is no list.
    pub(super) fn list(packed: Bytes) -> Option<Packed> {
        let mut packed = Packed { rest: packed, left: 0 };
        packed.left = match packed.marker()? {
            Marker::FixArray(n) => usize::from(n),
            Marker::Array16 => packed.rest.try_get_u16().ok()?.into(),
            Marker::Array32 => usize::try_from(packed.rest.try_get_u32().ok()?).ok()?,
            _ => return None,
        };
        Some(packed)
    }

    /// The next value of the list; `None` at its end, and where it is cut off or not as expected.
    pub(super) fn next(&mut self) -> Option<Reply> {
        self.left = self.left.checked_sub(1)?;
        self.value(1)
    }

    fn value(&mut self, depth: usize) -> Option<Reply> {
        Some(match self.marker()? {
            Marker::FixPos(n) => Reply::Integer(n.into()),
            Marker::FixNeg(n) => Reply::Integer(n.into()),
            Marker::U8 => Reply::Integer(self.rest.try_get_u8().ok()?.into()),
            Marker::U16 => Reply::Integer(self.rest.try_get_u16().ok()?.into()),
            Marker::U32 => Reply::Integer(self.rest.try_get_u32().ok()?.into()),
            Marker::U64 => Reply::Integer(self.rest.try_get_u64().ok()?.try_into().ok()?),
            Marker::I8 => Reply::Integer(self.rest.try_get_i8().ok()?.into()),
            Marker::I16 => Reply::Integer(self.rest.try_get_i16().ok()?.into()),
            Marker::I32 => Reply::Integer(self.rest.try_get_i32().ok()?.into()),
            Marker::I64 => Reply::Integer(self.rest.try_get_i64().ok()?),
            Marker::F32 => Reply::Double(self.rest.try_get_f32().ok()?.into()),
            Marker::F64 => Reply::Double(self.rest.try_get_f64().ok()?),
            Marker::True => Reply::Boolean(true),
            Marker::False => Reply::Boolean(false),
            Marker::Null => Reply::Null,
            Marker::FixStr(n) => self.bytes(n.into())?,
            Marker::Str8 => {
                let n = self.rest.try_get_u8().ok()?;
                self.bytes(n.into())?
            }
            Marker::Str16 => {
                let n = self.rest.try_get_u16().ok()?;
                self.bytes(n.into())?
            }
            Marker::Str32 => {
                let n = self.rest.try_get_u32().ok()?;
                self.bytes(n.try_into().ok()?)?
            }
            Marker::FixArray(n) => self.items(n.into(), depth)?,
            Marker::Array16 => {
                let n = self.rest.try_get_u16().ok()?;
                self.items(n.into(), depth)?
            }
            Marker::Array32 => {
                let n = self.rest.try_get_u32().ok()?;
                self.items(n.try_into().ok()?, depth)?
            }
            _ => return None,
        })
    }

    fn items(&mut self, n: usize, depth: usize) -> Option<Reply> {
        // Each takes a byte at least: no more is set aside than can come.
        if depth == MAX_DEPTH || n > self.rest.len() {
            return None;
        }
        (0..n).map(|_| self.value(depth + 1)).collect::<Option<_>>().map(Reply::Array)
    }

    fn bytes(&mut self, n: usize) -> Option<Reply> {
        (n <= self.rest.len()).then(|| Reply::Bytes(self.rest.split_to(n)))
    }

    fn marker(&mut self) -> Option<Marker> {
        self.rest.try_get_u8().ok().map(Marker::from_u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Vec<Reply> {
        let mut packed = Packed::list(Bytes::copy_from_slice(bytes)).unwrap();
        std::iter::from_fn(|| packed.next()).collect()
    }

    #[test]
    fn what_redis_packs_is_unpacked() {
        // `EVAL "return cmsgpack.pack({'abc', -1, {'hash', 2, {'a', 'b'}}, 1795231716000, 4.0, false, {}})" 0`
        let written = b"\x97\xa3abc\xff\x93\xa4hash\x02\x92\xa1a\xa1b\xcf\x00\x00\x01\xa1\xfc&\x12\xa0\x04\xc2\x90";
        let text = |text: &'static str| Reply::Bytes(Bytes::from_static(text.as_bytes()));
        let hash = Reply::Array(vec![text("hash"), Reply::Integer(2), Reply::Array(vec![text("a"), text("b")])]);
        assert_eq!(
            all(written),
            [
                text("abc"),
                Reply::Integer(-1),
                hash,
                Reply::Integer(1_795_231_716_000),
                Reply::Integer(4),
                Reply::Boolean(false),
                Reply::Array(Vec::new()),
            ]
        );
        assert_eq!(all(b"\x90"), []);
    }

    #[test]
    fn what_is_cut_off_ends_there() {
        assert_eq!(all(b"\x92\x01"), [Reply::Integer(1)]);
        assert_eq!(all(b"\x91\xa3ab"), []);
        assert_eq!(all(b"\x91\xdd\xff\xff\xff\xff"), []);
        assert!(Packed::list(Bytes::from_static(b"\xa1a")).is_none());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(mut packed) = Packed::list(Bytes::from(bytes)) {
                while packed.next().is_some() {}
            }
        }
    }
}
