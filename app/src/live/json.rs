//! A reader of JSON (RFC 8259) for what the server says.
//!
//! The customary one reads any float to its last digit: its tables and the code around them were a twentieth of the
//! whole download, for frames in which every number is whole.

use lockkeeper_model::Time;

/// Deeper nesting than any frame has; a bound on the recursion.
const MAX_DEPTH: u32 = 64;

/// A JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    /// A number with a fraction, an exponent or more digits than 64 bits hold: no frame has one that is read.
    OtherNumber,
    Text(String),
    List(Vec<Value>),
    /// Its fields, in order.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// A field of an object; null where it is none or has none of that name.
    pub(crate) fn field(&self, name: &str) -> &Value {
        match self {
            Value::Object(fields) => fields.iter().find(|(known, _)| known == name).map_or(&Value::Null, |(_, it)| it),
            _ => &Value::Null,
        }
    }

    /// A text in an object; empty where there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        match self.field(name) {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// A whole number in an object; `None` where there is none.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match self.field(name) {
            Value::Unsigned(number) => Some(*number),
            _ => None,
        }
    }

    /// A moment in an object, as milliseconds; `None` where there is none.
    pub(crate) fn time(&self, name: &str) -> Option<Time> {
        self.text(name).parse().ok()
    }

    /// Whether something in an object holds; not where nothing says so.
    pub(crate) fn holds(&self, name: &str) -> bool {
        *self.field(name) == Value::Bool(true)
    }

    /// The texts of a list in an object.
    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.items(name).iter().filter_map(|item| match item {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A list in an object; empty where there is none.
    pub(crate) fn items(&self, name: &str) -> &[Value] {
        match self.field(name) {
            Value::List(items) => items,
            _ => &[],
        }
    }
}

/// Reads a whole text; `None` if it is not JSON.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.skip_space();
    (reader.at == text.len()).then_some(value)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Goes past `byte` if it comes next, behind any space.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        self.text.get(self.at..)?.starts_with(word).then(|| {
            self.at += word.len();
            value
        })
    }

    fn value(&mut self, depth: u32) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_space();
        match self.peek()? {
            b'n' => self.word("null", Value::Null),
            b't' => self.word("true", Value::Bool(true)),
            b'f' => self.word("false", Value::Bool(false)),
            b'"' => self.string().map(Value::Text),
            b'[' => {
                self.at += 1;
                let mut items = Vec::new();
                if self.take(b']') {
                    return Some(Value::List(items));
                }
                loop {
                    items.push(self.value(depth + 1)?);
                    if self.take(b']') {
                        return Some(Value::List(items));
                    }
                    self.take(b',').then_some(())?;
                }
            }
            b'{' => {
                self.at += 1;
                let mut fields = Vec::new();
                if self.take(b'}') {
                    return Some(Value::Object(fields));
                }
                loop {
                    self.skip_space();
                    let name = self.string()?;
                    self.take(b':').then_some(())?;
                    fields.push((name, self.value(depth + 1)?));
                    if self.take(b'}') {
                        return Some(Value::Object(fields));
                    }
                    self.take(b',').then_some(())?;
                }
            }
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<Value> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let mut whole = Some(0u64);
        let digits = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            whole = whole.and_then(|n| n.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
            self.at += 1;
        }
        let leading_zero = self.at - digits > 1 && self.text.as_bytes().get(digits) == Some(&b'0');
        if self.at == digits || leading_zero {
            return None;
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            while matches!(self.peek(), Some(b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')) {
                self.at += 1;
            }
            let text = self.text.get(start..self.at)?;
            // Whether it is well formed does not matter: nobody reads it.
            return text.ends_with(|last: char| last.is_ascii_digit()).then_some(Value::OtherNumber);
        }
        Some(match (whole, negative) {
            (Some(n), false) => Value::Unsigned(n),
            (Some(n), true) => 0i64.checked_sub_unsigned(n).map_or(Value::OtherNumber, Value::Negative),
            (None, _) => Value::OtherNumber,
        })
    }

    fn string(&mut self) -> Option<String> {
        (self.peek()? == b'"').then_some(())?;
        self.at += 1;
        let mut out = String::new();
        loop {
            let from = self.at;
            while !matches!(self.peek()?, b'"' | b'\\' | 0..0x20) {
                self.at += 1;
            }
            // Both ends are at ASCII characters, so that no character is cut.
            out.push_str(self.text.get(from..self.at)?);
            let stop = self.peek()?;
            self.at += 1;
            match stop {
                b'"' => return Some(out),
                b'\\' => out.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let letter = self.peek()?;
        self.at += 1;
        Some(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex()?;
                if !(0xd800..0xdc00).contains(&unit) {
                    return char::from_u32(unit);
                }
                self.word("\\u", Value::Null)?;
                let low = self.hex()?.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
                return char::from_u32(0x10000 + ((unit - 0xd800) << 10 | low));
            }
            _ => return None,
        })
    }

    fn hex(&mut self) -> Option<u32> {
        let mut unit = 0;
        for _ in 0..4 {
            unit = unit << 4 | char::from(self.peek()?).to_digit(16)?;
            self.at += 1;
        }
        Some(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same as the customary reader sees it.
    fn customary(value: &serde_json::Value) -> Value {
        use serde_json::Value as Known;
        match value {
            Known::Null => Value::Null,
            Known::Bool(value) => Value::Bool(*value),
            Known::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(n), _) => Value::Unsigned(n),
                (_, Some(n)) => Value::Negative(n),
                _ => Value::OtherNumber,
            },
            Known::String(text) => Value::Text(text.clone()),
            Known::Array(items) => Value::List(items.iter().map(customary).collect()),
            Known::Object(fields) => {
                Value::Object(fields.iter().map(|(name, value)| (name.clone(), customary(value))).collect())
            }
        }
    }

    #[test]
    fn reads_what_the_customary_reader_reads() {
        for text in [
            "null",
            " true ",
            "[]",
            "{}",
            "0",
            "-7",
            "18446744073709551615",
            "-9223372036854775808",
            "99999999999999999999",
            "1.5",
            "1e9",
            "-0.25E-3",
            r#""""#,
            r#""a\"\\\/\b\f\n\r\tä\u00e4\ud83d\udd12""#,
            r#"{"a":[1,-2,{"b":null}],"c":"ü"}"#,
            "[ 1 , [ ] , { \"x\" : false } ]",
        ] {
            let known: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse(text), Some(customary(&known)), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_not_json() {
        let deep = "[".repeat(1_000) + &"]".repeat(1_000);
        for text in [
            "",
            "nul",
            "[1",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "-",
            "+1",
            "1.",
            "\"\u{1}\"",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\u12\"",
            "\"",
            "1 2",
            &deep,
        ] {
            assert_eq!(parse(text), None, "{text:.20}");
        }
    }
}
