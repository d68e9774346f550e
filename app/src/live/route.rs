//! The page's address: which page, the question, the order and the open lock, so that a link shows a colleague the same.

use lockkeeper_model::{Flag, GroupBy, LockId, MAX_TEXT_BYTES, Order, Question, SortKey, Time};

use crate::lang::{Key, key, t};

/// One of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Page {
    /// Every lock, and the one that is open.
    #[default]
    Locks,
    /// Who released what, when and why.
    Audit,
    /// The board of a moment of the past.
    History,
    /// What was frozen of an incident.
    Incidents,
    /// Everything about one lock.
    Lock,
    /// Who waits for whom.
    Contention,
    /// Who holds how much.
    Holders,
    /// How the stores are watched.
    Sources,
    /// Who one is here, and how the server is set up.
    Settings,
    /// Every piece in every state.
    #[cfg(feature = "gallery")]
    Gallery,
    /// What somebody should know.
    Warnings,
}

impl Page {
    /// Every page, in the order in which they are offered.
    pub(crate) const ALL: &'static [Page] = &[
        Page::Locks,
        Page::Warnings,
        Page::Contention,
        Page::Holders,
        Page::History,
        Page::Incidents,
        Page::Audit,
        Page::Sources,
        Page::Settings,
        Page::Lock,
        #[cfg(feature = "gallery")]
        Page::Gallery,
    ];

    /// Whether one gets there from anywhere.
    pub(crate) fn is_offered(self) -> bool {
        self != Page::Lock
    }

    /// Its path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Page::Locks => "/",
            Page::Audit => "/audit",
            Page::History => "/history",
            Page::Incidents => "/incidents",
            Page::Lock => "/lock",
            Page::Contention => "/contention",
            Page::Holders => "/holders",
            Page::Sources => "/sources",
            Page::Settings => "/settings",
            #[cfg(feature = "gallery")]
            Page::Gallery => "/gallery",
            Page::Warnings => "/warnings",
        }
    }

    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Page::Locks => t!(locks),
            Page::Audit => t!(audit),
            Page::History => t!(history),
            Page::Incidents => t!(incidents),
            Page::Lock => t!(lock),
            Page::Contention => t!(contention),
            Page::Holders => t!(holders),
            Page::Sources => t!(sources),
            Page::Settings => t!(settings),
            #[cfg(feature = "gallery")]
            Page::Gallery => "Gallery",
            Page::Warnings => t!(warnings),
        }
    }
}

/// What the address says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    /// Which page.
    pub(crate) page: Page,
    /// Which locks, in which order.
    pub(crate) question: Question,
    /// The lock that is open, or that the page is about.
    pub(crate) lock: Option<(String, LockId)>,
    /// The moment that is looked back at.
    pub(crate) at: Option<Time>,
    /// How much time around it is offered, as one of [`SPANS`]; `None`: the first.
    pub(crate) span: Option<&'static Span>,
    /// The incident that is open, by its id.
    pub(crate) incident: Option<String>,
    /// The holder that the page is about.
    pub(crate) holder: Option<String>,
    /// The warning that is meant, of those on the page.
    pub(crate) warning: Option<String>,
}

/// A stretch of time that can be chosen.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// What stands for it in an address.
    pub(crate) word: &'static str,
    /// What it is called.
    pub(crate) name: Key<0>,
    /// How long it is, in milliseconds.
    pub(crate) ms: i64,
    /// How far a key moves within it, in milliseconds.
    pub(crate) step_ms: i64,
}

/// Stretches of time that can be chosen.
pub(crate) static SPANS: [Span; 5] = [
    Span { word: "1h", name: key::span_hour, ms: 3_600_000, step_ms: 1_000 },
    Span { word: "6h", name: key::span_6_hours, ms: 21_600_000, step_ms: 10_000 },
    Span { word: "1d", name: key::span_day, ms: 86_400_000, step_ms: 60_000 },
    Span { word: "7d", name: key::span_7_days, ms: 604_800_000, step_ms: 600_000 },
    Span { word: "30d", name: key::span_30_days, ms: 2_592_000_000, step_ms: 3_600_000 },
];

/// The longest name of a holder in an address, in bytes, as the server takes it.
const MAX_HOLDER_BYTES: usize = 4_096;

/// The states that can be filtered by, with what they are called.
pub(crate) const STATES: [(&str, Key<0>); 5] = [
    ("held", key::state_held),
    ("waiting", key::state_waiting),
    ("waiting_only", key::state_waiting_only),
    ("no_quorum", key::no_quorum),
    ("unknown_holder", key::holder_unknown),
];

impl Route {
    /// How much time is shown, also where nothing was chosen.
    pub(crate) fn span(&self) -> &'static Span {
        self.span.unwrap_or(&SPANS[0])
    }

    /// Reads the path of an address, and its query with or without the `?`. What is not understood is left out: an old
    /// link must still open a page.
    pub(crate) fn parse(path: &str, query: &str) -> Route {
        let incident = path.strip_prefix("/incidents/").filter(|id| !id.is_empty()).map(decode);
        let page = Page::ALL.iter().copied().find(|page| page.path() == path);
        let page = page.unwrap_or(if incident.is_some() { Page::Incidents } else { Page::Locks });
        let mut route = Route { page, incident, ..Route::default() };
        for (name, raw) in query.trim_start_matches('?').split('&').filter_map(|pair| pair.split_once('=')) {
            let value = decode(raw);
            let text = || (!value.is_empty() && value.len() <= MAX_TEXT_BYTES).then(|| value.clone());
            match name {
                "q" => route.question.q = cut(&value),
                "source" => route.question.source = text(),
                "dialect" => route.question.dialect = text(),
                "state" => route.question.state = text().filter(|v| STATES.iter().any(|(state, _)| state == v)),
                "flag" => route.question.flag = text().filter(|v| Flag::ALL.iter().any(|flag| flag.word() == v)),
                "sort" => {
                    route.question.sort = SortKey::ALL.into_iter().find(|key| key.word() == value).unwrap_or_default();
                }
                "group" => route.question.group = GroupBy::ALL.into_iter().find(|by| by.word() == value),
                "within" => route.question.within = text(),
                "order" => {
                    route.question.order = [Order::Asc, Order::Desc].into_iter().find(|order| order.word() == value);
                }
                "at" => route.at = value.parse().ok(),
                "span" => route.span = SPANS.iter().find(|span| span.word == value),
                "holder" => {
                    route.holder = Some(value).filter(|value| (1..=MAX_HOLDER_BYTES).contains(&value.len()));
                }
                "warning" => route.warning = text(),
                // The slash is looked for before decoding: a source's name may have an encoded one.
                "lock" => {
                    route.lock = raw
                        .split_once('/')
                        .and_then(|(source, id)| Some((decode(source), LockId::parse(&decode(id)).ok()?)));
                }
                _ => {}
            }
        }
        if route.question.group.is_none() {
            route.question.within = None;
        }
        if route.question.order == Some(route.question.sort.natural_order()) {
            route.question.order = None;
        }
        route
    }

    /// The address: the path, and a query where there is something to say.
    pub(crate) fn href(&self) -> String {
        let question = &self.question;
        let mut pairs: Vec<String> = Vec::new();
        let mut add = |name: &str, value: &str| pairs.push(format!("{name}={}", encode(value)));
        if !question.q.is_empty() {
            add("q", &question.q);
        }
        if let Some(by) = question.group {
            add("group", by.word());
        }
        if let Some(value) = &question.within {
            add("within", value);
        }
        if question.sort != SortKey::default() {
            add("sort", question.sort.word());
        }
        if let Some(order) = question.order {
            add("order", order.word());
        }
        let filters = [
            ("flag", &question.flag),
            ("state", &question.state),
            ("source", &question.source),
            ("dialect", &question.dialect),
        ];
        for (name, value) in filters {
            if let Some(value) = value {
                add(name, value);
            }
        }
        if let Some(at) = self.at {
            pairs.push(format!("at={at}"));
        }
        if let Some(span) = self.span {
            pairs.push(format!("span={}", span.word));
        }
        if let Some(holder) = &self.holder {
            pairs.push(format!("holder={}", encode(holder)));
        }
        if let Some((source, id)) = &self.lock {
            pairs.push(format!("lock={}/{}", encode(source), encode(id.as_str())));
        }
        if let Some(warning) = &self.warning {
            pairs.push(format!("warning={}", encode(warning)));
        }
        let mut href = self.page.path().to_owned();
        if let Some(id) = &self.incident {
            href = format!("{href}/{}", encode(id));
        }
        if pairs.is_empty() { href } else { format!("{href}?{}", pairs.join("&")) }
    }

    /// The same list with another lock open, or none.
    pub(crate) fn with_lock(&self, lock: Option<(String, LockId)>) -> Route {
        Route { lock, ..self.clone() }
    }

    /// Where the groups of the question are asked for; `None` where it asks for none.
    pub(crate) fn groups_path(&self) -> Option<String> {
        let group = self.question.group?;
        // How locks are ordered does not matter to groups, nor which of them is open.
        let question = Question {
            group: Some(group),
            within: None,
            sort: SortKey::default(),
            order: None,
            ..self.question.clone()
        };
        let address = Route { question, ..Route::default() }.href();
        Some(format!("/api/v1/groups{}", address.strip_prefix('/').unwrap_or_default()))
    }
}

/// Cuts a search text to what a question may carry, at a character.
pub(crate) fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (byte, ..) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_the_page_survives_its_address() {
        let routes = [
            Route::default(),
            Route {
                page: Page::Locks,
                question: Question {
                    q: "stock & co/ä 100%".to_owned(),
                    source: Some("a/b".to_owned()),
                    dialect: Some("redis-py".to_owned()),
                    state: Some("waiting".to_owned()),
                    flag: Some("no-expiry".to_owned()),
                    group: Some(GroupBy::Prefix),
                    within: Some("stock & co:".to_owned()),
                    sort: SortKey::Name,
                    order: Some(Order::Desc),
                },
                lock: Some(("a/b".to_owned(), LockId::of_key(b"lock:{x}/?&=#+ \xc3\xa4<b>"))),
                ..Route::default()
            },
            Route { page: Page::Holders, holder: Some("thread:web%2D1:7:t%3A1".to_owned()), ..Route::default() },
            Route {
                page: Page::Lock,
                lock: Some(("orders".to_owned(), LockId::of_key(b"lock:1"))),
                ..Route::default()
            },
            Route { lock: Some(("s".to_owned(), LockId::of_key(&[0xff, 0, 7]))), ..Route::default() },
            Route { page: Page::Audit, ..Route::default() },
            Route { page: Page::Incidents, ..Route::default() },
            Route { page: Page::Incidents, incident: Some("a/b?".to_owned()), ..Route::default() },
            Route { page: Page::History, at: Some(Time(1_767_235_633_250)), span: Some(&SPANS[2]), ..Route::default() },
            Route { page: Page::Warnings, warning: Some("0f3c".to_owned()), ..Route::default() },
            Route {
                page: Page::Audit,
                lock: Some(("orders".to_owned(), LockId::of_key(b"lock:stock:4711"))),
                ..Route::default()
            },
        ];
        for route in routes {
            let href = route.href();
            let (path, query) = href.split_once('?').unwrap_or((&href, ""));
            assert_eq!(Route::parse(path, query), route, "{href}");
        }
    }

    #[test]
    fn a_link_that_another_program_made_opens_the_same_lock() {
        let route = Route::parse("/", "?lock=orders/lock%3Astock%3A4711&sort=held_since&order=asc");
        assert_eq!(route.lock, Some(("orders".to_owned(), LockId::of_key(b"lock:stock:4711"))));
        assert_eq!(route.question.order, None, "the natural order needs no word");
        assert_eq!(Route::parse("/", "?lock=orders/lock:stock:4711").lock, route.lock);
    }

    #[test]
    fn groups_are_asked_for_without_what_only_locks_have() {
        let route = Route::parse("/", "?q=a&group=prefix&within=stock%3A&sort=name&order=desc&lock=s/a");
        assert_eq!(route.groups_path().as_deref(), Some("/api/v1/groups?q=a&group=prefix"));
        assert_eq!(Route::default().groups_path(), None);
    }

    #[test]
    fn nonsense_is_left_out() {
        let route =
            Route::parse("/", "?within=a:&state=nope&flag=x&sort=y&order=z&lock=none&lock=a/b64:***&q=%ZZ%&=&&x");
        let question = Question { q: "%ZZ%".to_owned(), ..Question::default() };
        assert_eq!(route, Route { question, ..Route::default() });
        assert_eq!(Route::parse("/nowhere", "").page, Page::Locks);
        assert!(Route::parse("/", &format!("?q={}", "ä".repeat(400))).question.check().is_ok());
    }
}
