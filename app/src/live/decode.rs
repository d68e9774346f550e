//! Reads what the server says, with little code.
//!
//! What serde makes of the model for its own JSON reader, and once more for a tag within an object, was a fifth of the
//! whole download. Here one reader serves every type: it knows that structs are objects and that frames carry their
//! `kind`, and it says no more about an error than that there was one.

use std::fmt;

use lockkeeper_model::wire::{DialectCount, Ended, FacetCount, Facets, Row, ServerFrame};
use lockkeeper_model::{Event, Lock, LockId, Severity, SourceStatus};
use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer as _, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};

use super::json::{Value, parse};

/// Something else came than was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not what was promised")
    }
}

impl std::error::Error for Unreadable {}

impl Error for Unreadable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Unreadable
    }
    fn invalid_type(_: serde::de::Unexpected<'_>, _: &dyn serde::de::Expected) -> Self {
        Unreadable
    }
    fn unknown_variant(_: &str, _: &'static [&'static str]) -> Self {
        Unreadable
    }
    fn missing_field(_: &'static str) -> Self {
        Unreadable
    }
    fn duplicate_field(_: &'static str) -> Self {
        Unreadable
    }
}

/// Reads an answer.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    T::deserialize(Json(parse(text).ok_or(Unreadable)?))
}

/// Reads a part of an answer.
pub(super) fn read_value<T: DeserializeOwned>(value: &Value) -> Result<T, Unreadable> {
    T::deserialize(Json(value.clone()))
}

/// Reads a frame.
pub(crate) fn read_frame(text: &str) -> Result<ServerFrame, Unreadable> {
    Frame::deserialize(Json(parse(text).ok_or(Unreadable)?))
}

/// [`ServerFrame`] once more, for the compiler to compare: without the tag, which [`Json`] takes care of.
#[derive(Deserialize)]
#[serde(remote = "ServerFrame", rename_all = "snake_case")]
enum Frame {
    Hello {
        protocol: u32,
        version: String,
        run: String,
        release_enabled: bool,
        #[serde(default)]
        bulk_locks: u32,
        demo: bool,
        now: i64,
    },
    Sources {
        now: i64,
        sources: Vec<SourceStatus>,
        #[serde(default)]
        dialects: Vec<DialectCount>,
        #[serde(default)]
        open_warnings: u64,
        #[serde(default)]
        worst_warning: Option<Severity>,
    },
    Window {
        ask: u32,
        now: i64,
        total: u64,
        all: u64,
        facets: Facets,
        offset: u64,
        #[serde(default)]
        cut: bool,
        rows: Vec<Row>,
        #[serde(default)]
        examined: Option<u64>,
    },
    Facets {
        ask: u32,
        now: i64,
        facets: Vec<FacetCount>,
    },
    Delta {
        ask: u32,
        now: i64,
        total: u64,
        all: u64,
        facets: Facets,
        #[serde(default)]
        offset: Option<u64>,
        #[serde(default)]
        order: Option<Vec<u64>>,
        rows: Vec<Row>,
        ended: Vec<Ended>,
    },
    Detail {
        now: i64,
        source: String,
        id: LockId,
        lock: Option<Box<Lock>>,
        events: Vec<Event>,
        events_cut: bool,
    },
    Notice {
        at: i64,
        code: String,
        by: String,
        reason: String,
        locks: Vec<(String, LockId)>,
    },
    Refused {
        detail: String,
    },
}

/// A JSON value to be read.
struct Json(Value);

impl<'de> Deserializer<'de> for Json {
    type Error = Unreadable;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Unsigned(_) | Value::Negative(_) | Value::OtherNumber => self.deserialize_i64(visitor),
            Value::Text(value) => visitor.visit_string(value),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.0 {
            Value::Unsigned(number) => visitor.visit_u64(number),
            Value::Negative(number) => visitor.visit_i64(number),
            _ => Err(Unreadable),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.deserialize_i64(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.0 {
            Value::Text(text) => visitor.visit_string(text),
            _ => Err(Unreadable),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        self.deserialize_string(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.0 {
            Value::List(items) => visitor.visit_seq(Items(items.into_iter())),
            _ => Err(Unreadable),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Unreadable> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        match self.0 {
            Value::Object(fields) => visitor.visit_map(Fields { fields: fields.into_iter(), value: None }),
            _ => Err(Unreadable),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Unreadable> {
        match self.0 {
            Value::Text(word) => visitor.visit_enum(word.into_deserializer()),
            Value::Object(fields) => visitor.visit_enum(Tagged(fields)),
            _ => Err(Unreadable),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i128 u8 u16 u128 f32 f64 char bytes byte_buf unit unit_struct tuple_struct identifier
    }
}

/// The items of a list.
struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Unreadable;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Unreadable> {
        self.0.next().map(|item| seed.deserialize(Json(item))).transpose()
    }
}

/// The fields of an object.
struct Fields {
    fields: std::vec::IntoIter<(String, Value)>,
    value: Option<Value>,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = Unreadable;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Unreadable> {
        let Some((name, value)) = self.fields.next() else { return Ok(None) };
        self.value = Some(value);
        let name: StringDeserializer<Unreadable> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Unreadable> {
        seed.deserialize(Json(self.value.take().ok_or(Unreadable)?))
    }
}

/// An object that says in `kind` what it is.
struct Tagged(Vec<(String, Value)>);

impl<'de> EnumAccess<'de> for Tagged {
    type Error = Unreadable;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(mut self, seed: V) -> Result<(V::Value, Self), Unreadable> {
        let at = self.0.iter().position(|(name, _)| name == "kind").ok_or(Unreadable)?;
        let (_, Value::Text(kind)) = self.0.swap_remove(at) else { return Err(Unreadable) };
        let kind: StringDeserializer<Unreadable> = kind.into_deserializer();
        Ok((seed.deserialize(kind)?, self))
    }
}

impl<'de> VariantAccess<'de> for Tagged {
    type Error = Unreadable;

    fn unit_variant(self) -> Result<(), Unreadable> {
        Err(Unreadable)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value, Unreadable> {
        Err(Unreadable)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Unreadable> {
        Err(Unreadable)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Unreadable> {
        visitor.visit_map(Fields { fields: self.0.into_iter(), value: None })
    }
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::TransitionKind;

    use super::*;
    use crate::fixtures::{event, lock, row};

    #[test]
    fn every_frame_is_read_as_it_was_written() {
        let facets = Facets { waiting: 4, no_expiry: 31 };
        let ended = Ended { row: 3, transition: TransitionKind::TakenOver, at: -5, held_ms: None };
        let detail = |lock| ServerFrame::Detail {
            now: 1,
            source: "orders".to_owned(),
            id: LockId::of_key(&[0xff]),
            lock,
            events: vec![event(TransitionKind::Renewed, 7)],
            events_cut: true,
        };
        let frames = [
            ServerFrame::Hello {
                protocol: 1,
                version: "v".to_owned(),
                run: "r".to_owned(),
                release_enabled: true,
                bulk_locks: 100,
                demo: false,
                now: 1_767_235_900_120,
            },
            ServerFrame::Sources {
                now: 1,
                sources: Vec::new(),
                dialects: vec![DialectCount { name: "redisson".to_owned(), locks: 2 }],
                open_warnings: 2,
                worst_warning: Some(Severity::Critical),
            },
            ServerFrame::Window {
                ask: 2,
                now: 1,
                total: 2,
                all: u64::MAX,
                facets,
                offset: 0,
                cut: true,
                rows: vec![row(1), row(2)],
                examined: Some(9),
            },
            ServerFrame::Facets {
                ask: 2,
                now: 1,
                facets: vec![FacetCount { field: "flag".to_owned(), value: "no-expiry".to_owned(), locks: 3 }],
            },
            ServerFrame::Delta {
                ask: 2,
                now: 1,
                total: 2,
                all: 2,
                facets,
                offset: Some(40),
                order: None,
                rows: vec![row(1)],
                ended: vec![ended],
            },
            detail(None),
            detail(Some(Box::new(lock()))),
            ServerFrame::Refused { detail: "`flag`\n".to_owned() },
        ];
        for frame in frames {
            let text = serde_json::to_string(&frame).unwrap();
            assert_eq!(read_frame(&text), Ok(frame), "{text}");
        }
    }

    #[test]
    fn what_is_new_is_passed_over_and_what_is_missing_is_an_error() {
        let text = r#"{"kind":"refused","detail":"d","later":{"a":[1,null]}}"#;
        assert_eq!(read_frame(text), Ok(ServerFrame::Refused { detail: "d".to_owned() }));
        for bad in ["", "[]", "{}", r#"{"kind":"refused"}"#, r#"{"kind":"other"}"#, r#"{"kind":"refused","detail":1}"#]
        {
            assert_eq!(read_frame(bad), Err(Unreadable), "{bad}");
        }
    }
}
