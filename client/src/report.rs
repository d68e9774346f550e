//! What a lock client says of itself: one entry in a capped stream, `docs/reporting.md`.
//!
//! Pure: no IO, no clock, no dependency, so that whoever reads the stream can use it alone. Whatever is in the stream
//! was written by somebody else: [`Report::parse`] takes any bytes and every length is bounded. A report is true by its
//! author's own word only.

use std::fmt;
use std::time::Duration;

/// The version that is written. A reader leaves entries of other versions alone.
pub const VERSION: &str = "1";

/// The stream's name where the operator chose none.
pub const DEFAULT_STREAM: &str = "lockkeeper:reports";

/// How many entries the stream is trimmed to, roughly. At some 200 bytes each this is 2 MB, and at a hundred reports a
/// second more than a minute and a half: many times [`WAITER_GONE_AFTER`].
pub const DEFAULT_MAX_ENTRIES: u64 = 10_000;

/// How often a waiter says again that it waits.
pub const WAITING_EVERY: Duration = Duration::from_secs(5);

/// After this long without a word a waiter is taken to be gone: two repetitions may get lost.
pub const WAITER_GONE_AFTER: Duration = Duration::from_secs(15);

/// Fields in one entry. Twice as many as are defined, which leaves room for later ones.
pub const MAX_FIELDS: usize = 20;

/// The longest key that can be reported, in bytes.
pub const MAX_LOCK_BYTES: usize = 1024;

/// The longest token that can be reported, in bytes: as much as the dashboard reads of a value.
pub const MAX_TOKEN_BYTES: usize = 1024;

/// How long an attempt's id may be, in bytes. The lower bound keeps counters, which are not unique, out.
pub const ATTEMPT_BYTES: std::ops::RangeInclusive<usize> = 8..=64;

/// The longest host name, in bytes (RFC 1035 §2.3.4).
pub const MAX_HOST_BYTES: usize = 255;

/// The longest name of a thread or task, in bytes.
pub const MAX_THREAD_BYTES: usize = 64;

/// The longest name that a program may give itself, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// The longest wait that is believed: a year. Keeps arithmetic on times safe.
pub const MAX_WAITED: Duration = Duration::from_secs(366 * 86_400);

/// Bytes of a stranger's value that an error repeats.
const MAX_QUOTED_BYTES: usize = 40;

/// What happened to one attempt to get a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It wants the lock, was told no, and goes on trying. Repeated every [`WAITING_EVERY`].
    Waiting,
    /// It asked once, was told no, and does not wait. Ends the attempt.
    Refused,
    /// It has the lock.
    Acquired,
    /// It gave the lock back. Ends the attempt.
    Released,
    /// It waited and does so no longer, without having got the lock. Ends the attempt.
    GaveUp,
}

impl Kind {
    const ALL: [Kind; 5] = [Kind::Waiting, Kind::Refused, Kind::Acquired, Kind::Released, Kind::GaveUp];

    /// The word in the stream.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Waiting => "waiting",
            Kind::Refused => "refused",
            Kind::Acquired => "acquired",
            Kind::Released => "released",
            Kind::GaveUp => "gave_up",
        }
    }

    /// Whether such a report says nothing without the token.
    fn needs_token(self) -> bool {
        matches!(self, Kind::Acquired | Kind::Released)
    }
}

/// Who reports. All of it is optional, and none of it is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The host's name; at most [`MAX_HOST_BYTES`].
    pub host: Option<String>,
    /// The process id on that host.
    pub pid: Option<u32>,
    /// The thread or task in that process; at most [`MAX_THREAD_BYTES`].
    pub thread: Option<String>,
    /// What the program calls itself, for example `billing-worker`; at most [`MAX_NAME_BYTES`].
    pub name: Option<String>,
}

/// One entry. Its time is the entry's id, which the store's own clock gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// What happened.
    pub kind: Kind,
    /// The lock's exact key; 1 to [`MAX_LOCK_BYTES`] bytes.
    pub lock: Vec<u8>,
    /// The exact token, where there is one: 1 to [`MAX_TOKEN_BYTES`] bytes. Present in [`Kind::Acquired`] and
    /// [`Kind::Released`].
    pub token: Option<Vec<u8>>,
    /// Random id of this one attempt, the same in all its reports: [`ATTEMPT_BYTES`] of letters, digits, `-` and `_`.
    pub attempt: String,
    /// How long the attempt had been asking for the lock, in milliseconds by the reporter's own monotonic clock; at most
    /// [`MAX_WAITED`].
    pub waited_ms: Option<u64>,
    /// Who says so.
    pub identity: Identity,
}

/// Why an entry is not a report, or a report cannot be written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportError {
    /// The entry has more than [`MAX_FIELDS`] fields.
    TooManyFields,
    /// It is written in a version that is not understood.
    Version {
        /// What it says, safe to show.
        found: String,
    },
    /// A field that every such report has is not there.
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field is there twice, so that two readers could take it differently.
    Repeated {
        /// Which.
        field: &'static str,
    },
    /// A field is empty, which is not the same as absent.
    Empty {
        /// Which.
        field: &'static str,
    },
    /// A field is longer than allowed.
    TooLong {
        /// Which.
        field: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The most that is allowed, in bytes.
        most: usize,
    },
    /// A field is not what it should be.
    Invalid {
        /// Which.
        field: &'static str,
        /// The beginning of what it says, safe to show.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl fmt::Display for ReportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooManyFields => {
                write!(f, "the entry has more than {MAX_FIELDS} fields: leave out what is not needed")
            }
            Self::Version { found } => write!(f, "`v` is `{found}`; version {VERSION} is understood"),
            Self::Missing { field } => write!(f, "`{field}` is missing, which this kind of report must have"),
            Self::Repeated { field } => write!(f, "`{field}` is there twice: write it once"),
            Self::Empty { field } => write!(f, "`{field}` is empty: leave out what is not known"),
            Self::TooLong { field, bytes, most } => {
                write!(f, "`{field}` has {bytes} bytes; at most {most} can be reported")
            }
            Self::Invalid { field, found, expected } => write!(f, "`{field}` is `{found}`; expected {expected}"),
        }
    }
}

impl std::error::Error for ReportError {}

impl Report {
    /// Reads one entry's fields, in any order. Fields that are not known are passed over, so that later versions may add
    /// some.
    ///
    /// # Errors
    /// What is wrong with the entry, in words that are safe to show.
    pub fn parse<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Result<Report, ReportError> {
        let mut raw = Raw::default();
        for (i, (name, value)) in fields.into_iter().enumerate() {
            if i == MAX_FIELDS {
                return Err(ReportError::TooManyFields);
            }
            raw.take(name, value)?;
        }
        raw.understand()
    }

    /// The fields of the entry, for `XADD`.
    ///
    /// # Errors
    /// When the report breaks a limit, so that no reader would take it.
    pub fn fields(&self) -> Result<Vec<(&'static str, Vec<u8>)>, ReportError> {
        let mut fields = vec![
            ("v", VERSION.as_bytes().to_vec()),
            ("kind", self.kind.word().as_bytes().to_vec()),
            ("lock", self.lock.clone()),
            ("attempt", self.attempt.as_bytes().to_vec()),
        ];
        let Identity { host, pid, thread, name } = &self.identity;
        let text = |text: &Option<String>| text.as_ref().map(|text| text.as_bytes().to_vec());
        let optional = [
            ("token", self.token.clone()),
            ("waited_ms", self.waited_ms.map(|ms| ms.to_string().into_bytes())),
            ("host", text(host)),
            ("pid", pid.map(|pid| pid.to_string().into_bytes())),
            ("thread", text(thread)),
            ("name", text(name)),
        ];
        fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        // Whoever writes is held to what a reader would say.
        Report::parse(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())))?;
        Ok(fields)
    }
}

/// The known fields of an entry, as they stand there.
#[derive(Default)]
struct Raw<'a> {
    values: [Option<&'a [u8]>; FIELDS.len()],
}

const FIELDS: [&str; 10] = ["v", "kind", "lock", "attempt", "token", "waited_ms", "host", "pid", "thread", "name"];

impl<'a> Raw<'a> {
    fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), ReportError> {
        let Some(i) = FIELDS.iter().position(|field| field.as_bytes() == name) else { return Ok(()) };
        match self.values[i].replace(value) {
            Some(_) => Err(ReportError::Repeated { field: FIELDS[i] }),
            None => Ok(()),
        }
    }

    fn understand(&self) -> Result<Report, ReportError> {
        let version = self.required("v")?;
        if version != VERSION.as_bytes() {
            return Err(ReportError::Version { found: quoted(version) });
        }
        let kind = self.required("kind")?;
        let kind = Kind::ALL
            .into_iter()
            .find(|known| known.word().as_bytes() == kind)
            .ok_or_else(|| invalid("kind", kind, "`waiting`, `refused`, `acquired`, `released` or `gave_up`"))?;
        self.required("lock")?;
        let lock = self.bytes("lock", MAX_LOCK_BYTES)?.unwrap_or_default().to_vec();
        if kind.needs_token() {
            self.required("token")?;
        }
        Ok(Report {
            kind,
            lock,
            token: self.bytes("token", MAX_TOKEN_BYTES)?.map(<[u8]>::to_vec),
            attempt: attempt(self.required("attempt")?)?,
            waited_ms: self.number("waited_ms", u64::try_from(MAX_WAITED.as_millis()).unwrap_or(u64::MAX))?,
            identity: Identity {
                host: self.text("host", MAX_HOST_BYTES)?,
                pid: self.number("pid", u64::from(u32::MAX))?.and_then(|pid| u32::try_from(pid).ok()),
                thread: self.text("thread", MAX_THREAD_BYTES)?,
                name: self.text("name", MAX_NAME_BYTES)?,
            },
        })
    }

    fn optional(&self, field: &'static str) -> Option<&'a [u8]> {
        FIELDS.iter().position(|known| *known == field).and_then(|i| self.values[i])
    }

    fn required(&self, field: &'static str) -> Result<&'a [u8], ReportError> {
        self.optional(field).ok_or(ReportError::Missing { field })
    }

    fn bytes(&self, field: &'static str, most: usize) -> Result<Option<&'a [u8]>, ReportError> {
        match self.optional(field) {
            Some([]) => Err(ReportError::Empty { field }),
            Some(value) if value.len() > most => Err(ReportError::TooLong { field, bytes: value.len(), most }),
            value => Ok(value),
        }
    }

    fn text(&self, field: &'static str, most: usize) -> Result<Option<String>, ReportError> {
        let Some(value) = self.bytes(field, most)? else { return Ok(None) };
        let text = std::str::from_utf8(value).map_err(|_| invalid(field, value, "text in UTF-8"))?;
        Ok(Some(text.to_owned()))
    }

    fn number(&self, field: &'static str, most: u64) -> Result<Option<u64>, ReportError> {
        let Some(value) = self.optional(field) else { return Ok(None) };
        // `u64::from_str` would also take a sign.
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits
            .and_then(|digits| digits.parse().ok())
            .filter(|number| *number <= most)
            .map(Some)
            .ok_or_else(|| invalid(field, value, "a whole number in digits, of a believable size"))
    }
}

fn attempt(value: &[u8]) -> Result<String, ReportError> {
    const EXPECTED: &str = "8 to 64 random letters, digits, `-` or `_`";
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match std::str::from_utf8(value) {
        Ok(text) if ATTEMPT_BYTES.contains(&value.len()) && value.iter().all(allowed) => Ok(text.to_owned()),
        _ => Err(invalid("attempt", value, EXPECTED)),
    }
}

fn invalid(field: &'static str, value: &[u8], expected: &'static str) -> ReportError {
    ReportError::Invalid { field, found: quoted(value), expected }
}

/// The beginning of a stranger's bytes in visible ASCII.
fn quoted(value: &[u8]) -> String {
    let beginning = &value[..value.len().min(MAX_QUOTED_BYTES)];
    let more = if beginning.len() < value.len() { "…" } else { "" };
    format!("{}{more}", beginning.escape_ascii())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn parse(fields: &[(&[u8], &[u8])]) -> Result<Report, ReportError> {
        Report::parse(fields.iter().copied())
    }

    const WAITING: [(&[u8], &[u8]); 4] =
        [(b"v", b"1"), (b"kind", b"waiting"), (b"lock", b"lock:a\xff"), (b"attempt", b"0123456789abcdef")];

    /// The good entry with one field changed or added.
    fn with<'a>(field: &'a [u8], value: &'a [u8]) -> Result<Report, ReportError> {
        let mut fields: Vec<(&[u8], &[u8])> = WAITING.iter().copied().filter(|(name, _)| *name != field).collect();
        fields.push((field, value));
        parse(&fields)
    }

    #[test]
    fn the_least_that_a_waiter_says() {
        let report = parse(&WAITING).unwrap();
        assert_eq!(report.kind, Kind::Waiting);
        assert_eq!(report.lock, b"lock:a\xff");
        assert_eq!((report.token, report.waited_ms, report.identity), (None, None, Identity::default()));
    }

    #[test]
    fn what_is_not_known_is_passed_over() {
        assert_eq!(with(b"colour", b"green"), parse(&WAITING));
    }

    #[test]
    fn every_fault_is_named() {
        let message = |result: Result<Report, ReportError>| result.unwrap_err().to_string();
        assert_eq!(message(with(b"v", b"2")), "`v` is `2`; version 1 is understood");
        assert_eq!(message(with(b"lock", b"")), "`lock` is empty: leave out what is not known");
        assert_eq!(message(with(b"lock", &[b'a'; 1025])), "`lock` has 1025 bytes; at most 1024 can be reported");
        assert_eq!(message(with(b"kind", b"acquired")), "`token` is missing, which this kind of report must have");
        assert_eq!(
            message(with(b"kind", b"stolen\x1b[2J")),
            r"`kind` is `stolen\x1b[2J`; expected `waiting`, `refused`, `acquired`, `released` or `gave_up`"
        );
        assert_eq!(message(parse(&WAITING[..3])), "`attempt` is missing, which this kind of report must have");
        let twice = [&WAITING[..], &[(b"lock", b"lock:b")]].concat();
        assert_eq!(message(parse(&twice)), "`lock` is there twice: write it once");
        for (field, value) in [
            (&b"attempt"[..], &b"7"[..]),
            (b"attempt", b"spaces are not id"),
            (b"pid", b"-1"),
            (b"pid", b"+1"),
            (b"pid", b""),
            (b"pid", b"4294967296"),
            (b"waited_ms", b"1e3"),
            (b"waited_ms", b"31622400001"),
            (b"host", b"\xff"),
        ] {
            let result = with(field, value);
            assert!(matches!(result, Err(ReportError::Invalid { .. })), "{result:?}");
        }
        let many = vec![(&b"x"[..], &b""[..]); MAX_FIELDS + 1];
        assert_eq!(parse(&many), Err(ReportError::TooManyFields));
    }

    #[test]
    fn an_error_repeats_little_of_a_long_value() {
        let message = with(b"kind", &[0; 100_000]).unwrap_err().to_string();
        assert!(message.len() < 300, "{message}");
    }

    fn text(most: usize) -> impl Strategy<Value = Option<String>> {
        // A character has at most four bytes.
        option::of(vec(any::<char>(), 1..=most / 4).prop_map(String::from_iter))
    }

    prop_compose! {
        fn reports()(
            kind in proptest::sample::select(&Kind::ALL[..]),
            lock in vec(any::<u8>(), 1..=MAX_LOCK_BYTES),
            some_token in vec(any::<u8>(), 1..=MAX_TOKEN_BYTES),
            has_token in any::<bool>(),
            attempt in "[A-Za-z0-9_-]{8,64}",
            waited_ms in option::of(0..=31_622_400_000u64),
            host in text(MAX_HOST_BYTES),
            pid in any::<Option<u32>>(),
            thread in text(MAX_THREAD_BYTES),
            name in text(MAX_NAME_BYTES),
        ) -> Report {
            let token = (has_token || kind.needs_token()).then_some(some_token);
            Report { kind, lock, token, attempt, waited_ms, identity: Identity { host, pid, thread, name } }
        }
    }

    /// Field names that are known as often as not.
    fn names() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::sample::select(&FIELDS[..]).prop_map(|name| name.as_bytes().to_vec()),
            vec(any::<u8>(), 0..8)
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(report in reports(), turn in 0usize..10) {
            let mut fields = report.fields().unwrap();
            let len = fields.len();
            fields.rotate_left(turn % len);
            let read = Report::parse(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())));
            prop_assert_eq!(read, Ok(report));
        }

        #[test]
        fn any_bytes_are_read_or_refused(fields in vec((names(), vec(any::<u8>(), 0..2000)), 0..30)) {
            match Report::parse(fields.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))) {
                Ok(report) => prop_assert!(report.fields().is_ok()),
                Err(error) => {
                    let message = error.to_string();
                    prop_assert!(message.len() < 400 && !message.contains(char::is_control));
                }
            }
        }

        #[test]
        fn one_broken_field_never_panics(report in reports(), at in 0usize..10, value in vec(any::<u8>(), 0..1100)) {
            let mut fields = report.fields().unwrap();
            let len = fields.len();
            fields[at % len].1 = value;
            if let Ok(read) = Report::parse(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()))) {
                prop_assert!(read.fields().is_ok());
            }
        }
    }
}
