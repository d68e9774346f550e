//! Which lock is meant: an id, a source and an id, or the end of a name that only one lock has.

use lockkeeper_model::search::{Condition, Search, Term};
use lockkeeper_model::words::shown;
use lockkeeper_model::{Lock, LockId, MAX_LIMIT, MAX_TEXT_BYTES, Problem, Time};

use super::answers::{Coverage, LocksAnswer};
use super::exit::{Exit, Trouble};
use super::link::{Answer, Link};
use super::words::{number_of, whole};

/// Locks that are listed where a name fits several: enough to find the one that was meant.
const MOST_LISTED: usize = 20;

/// A lock that is held or waited for, and how much of the stores is known.
#[derive(Debug)]
pub(super) struct Found {
    /// The lock.
    pub(super) lock: Lock,
    /// The server's answer, as it came.
    pub(super) answer: Answer,
    /// How well the sources are watched.
    pub(super) coverage: Coverage,
    /// The server's clock.
    pub(super) now: Time,
    /// It was named by its end, and is the only one that is known with that end.
    pub(super) by_its_end: bool,
}

/// What a name came to.
#[derive(Debug)]
pub(super) enum Named {
    /// One lock.
    Held(Box<Found>),
    /// None that is held now.
    NotHeld {
        /// What may be meant: a source and an id each.
        places: Vec<(String, LockId)>,
        /// What the server says.
        said: Trouble,
    },
}

/// Which of the places a text names in which nobody holds a lock: the only one, or the one that it says whole.
pub(super) fn place_named(text: &str, mut places: Vec<(String, LockId)>) -> Option<(String, LockId)> {
    match places.len() {
        1 => places.pop(),
        _ => places.into_iter().find(|(source, id)| format!("{source}/{}", id.as_str()) == text),
    }
}

/// Finds the lock that is meant; `only` is the one source to look in.
pub(super) async fn find(link: &Link, text: &str, only: Option<&str>) -> Result<Named, Trouble> {
    let LocksAnswer { as_of, coverage, .. } = link.coverage().await?;
    let names: Vec<&str> = coverage.sources.iter().map(|source| source.source.as_str()).collect();
    if let Some(only) = only.filter(|only| !names.contains(only)) {
        return Err(no_such_source(only, &names));
    }
    let scopes = scopes(text, only, &names);
    let (mut exact, mut places, mut problem) = (Vec::new(), Vec::new(), None);
    for (source, name) in &scopes {
        let Ok(id) = LockId::parse(name) else { continue };
        match link.find(&["locks", source, &Link::segment(&id)]).await? {
            Ok(answer) => exact.push((link.read::<Lock>(&answer)?, answer)),
            Err(because) => {
                problem = problem.or(Some(because));
                places.push(((*source).to_owned(), id));
            }
        }
    }
    if exact.len() > 1 {
        let locks: Vec<&Lock> = exact.iter().map(|(lock, _)| lock).collect();
        return Err(ambiguous(text, &locks, locks.len() as u64));
    }
    if let Some((lock, answer)) = exact.pop() {
        let found = Found { lock, answer, coverage, now: as_of, by_its_end: false };
        return Ok(Named::Held(Box::new(found)));
    }
    let Some(lock) = by_end(link, text, only, &scopes).await? else {
        return Ok(Named::NotHeld { said: not_held(text, problem.as_ref(), &places, &coverage), places });
    };
    // A lock that ends meanwhile is as if it had not been found.
    match link.find(&["locks", &lock.source, &Link::segment(&lock.id)]).await? {
        Ok(answer) => {
            let lock = link.read(&answer)?;
            Ok(Named::Held(Box::new(Found { lock, answer, coverage, now: as_of, by_its_end: true })))
        }
        Err(because) => {
            let places = vec![(lock.source.clone(), lock.id.clone())];
            Ok(Named::NotHeld { said: not_held(text, Some(&because), &places, &coverage), places })
        }
    }
}

/// The only lock whose name or id ends like this.
async fn by_end(link: &Link, text: &str, only: Option<&str>, scopes: &[(&str, &str)]) -> Result<Option<Lock>, Trouble> {
    let within = scopes.iter().filter(|(_, end)| *end != text).map(|(source, end)| (Some(*source), *end));
    let mut found: Vec<Lock> = Vec::new();
    for (source, end) in std::iter::once((only, text)).chain(within) {
        let asked = as_text(end);
        if end.trim().is_empty() || asked.len() > MAX_TEXT_BYTES {
            continue;
        }
        let limit = MAX_LIMIT.to_string();
        // An empty parameter is an absent one.
        let query =
            [("q", asked.as_str()), ("source", source.unwrap_or_default()), ("sort", "name"), ("limit", &limit)];
        let answer: LocksAnswer = link.read(&link.ask(&["locks"], &query).await?)?;
        if answer.total > u64::from(MAX_LIMIT) {
            let some: Vec<&Lock> = answer.locks.iter().collect();
            return Err(ambiguous(text, &some, answer.total));
        }
        let is_known = |lock: &Lock| found.iter().any(|known| (&known.source, &known.id) == (&lock.source, &lock.id));
        let new: Vec<Lock> = answer.locks.into_iter().filter(|lock| ends_with(lock, end) && !is_known(lock)).collect();
        found.extend(new);
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        several => Err(ambiguous(text, &found.iter().collect::<Vec<_>>(), several as u64)),
    }
}

/// The sources in which to look, each with what to look for: the text, and where it begins with a source's name and a
/// slash, what follows.
fn scopes<'a>(text: &'a str, only: Option<&str>, sources: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let sources = || sources.iter().copied().filter(|source| only.is_none_or(|only| *source == only));
    let within = |source: &str| text.strip_prefix(source)?.strip_prefix('/').filter(|rest| !rest.is_empty());
    let whole = sources().map(|source| (source, text));
    whole.chain(sources().filter_map(|source| within(source).map(|rest| (source, rest)))).collect()
}

/// The question for locks in which this stands, whatever the search makes of its words: a name may look like a condition.
fn as_text(text: &str) -> String {
    Search { terms: vec![Term { excluded: false, condition: Condition::Text(text.to_owned()) }] }.to_string()
}

fn ends_with(lock: &Lock, end: &str) -> bool {
    lock.name.ends_with(end) || lock.id.as_str().ends_with(end)
}

fn no_such_source(name: &str, known: &[&str]) -> Trouble {
    let trouble = Trouble::new(Exit::NotFound, format!("there is no source `{}`", shown(name)));
    match known {
        [] => trouble.hint("there are none for you"),
        known => {
            let known: Vec<String> = known.iter().map(|name| shown(name)).collect();
            trouble.hint(format!("the sources are: {}", known.join(", ")))
        }
    }
}

fn not_held(text: &str, problem: Option<&Problem>, places: &[(String, LockId)], coverage: &Coverage) -> Trouble {
    // Of one place the server knows best why not.
    if let ([_], Some(problem)) = (places, problem) {
        return Trouble::new(Exit::NotFound, whole(&problem.detail));
    }
    let mut said = format!("no lock that is held now is `{}` or ends like this", shown(text));
    if !coverage.complete {
        said.push_str(", as far as is known: not every source was seen whole, or answers");
    }
    Trouble::new(Exit::NotFound, said)
}

fn ambiguous(text: &str, locks: &[&Lock], total: u64) -> Trouble {
    let mut said = format!("`{}` fits {}:", shown(text), number_of(total, "lock", "locks"));
    for lock in locks.iter().take(MOST_LISTED) {
        said.push_str(&format!("\n  {}/{}", shown(&lock.source), shown(lock.id.as_str())));
    }
    let more = total.saturating_sub(locks.len().min(MOST_LISTED) as u64);
    if more > 0 {
        said.push_str(&format!("\n  and {more} more"));
    }
    Trouble::new(Exit::Usage, said).hint("give one of them whole, as `source/id`")
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{lock, source};
    use super::*;

    #[test]
    fn a_name_may_begin_with_its_source_and_may_have_slashes_itself() {
        assert_eq!(scopes("4711", None, &["orders", "stock"]), [("orders", "4711"), ("stock", "4711")]);
        assert_eq!(
            scopes("stock/a/b", None, &["orders", "stock"]),
            [("orders", "stock/a/b"), ("stock", "stock/a/b"), ("stock", "a/b")]
        );
        assert_eq!(scopes("stock/", None, &["stock"]), [("stock", "stock/")]);
        assert_eq!(scopes("h/1/x", Some("h/1"), &["h", "h/1"]), [("h/1", "h/1/x"), ("h/1", "x")]);
    }

    #[test]
    fn the_end_of_a_name_or_of_an_id_is_enough() {
        let lock = lock();
        assert!(ends_with(&lock, "4711") && ends_with(&lock, "lock:stock:4711") && ends_with(&lock, "stock:4711"));
        assert!(!ends_with(&lock, "471") && !ends_with(&lock, "STOCK:4711"));
    }

    #[test]
    fn a_place_where_nobody_holds_a_lock_is_named_whole_or_is_the_only_one() {
        let place = |source: &str, id: &str| (source.to_owned(), LockId::of_key(id.as_bytes()));
        let both = vec![place("s", "s/lock:a"), place("s", "lock:a")];
        assert_eq!(place_named("s/lock:a", both.clone()), Some(place("s", "lock:a")));
        assert_eq!(place_named("lock:a", vec![place("s", "lock:a"), place("t", "lock:a")]), None);
        assert_eq!(place_named("lock:a", both[1..].to_vec()), Some(place("s", "lock:a")));
    }

    #[test]
    fn a_name_is_looked_for_as_it_is_though_it_looks_like_a_condition() {
        for name in ["holder:7", "-x", "held>5m", "a b", "say \"hi\" \\ ", "flag:nope", "\"", "état"] {
            let search = Search::parse(&as_text(name)).unwrap();
            let term = Term { excluded: false, condition: Condition::Text(name.to_owned()) };
            assert_eq!(search.terms, [term], "{name}");
        }
    }

    #[test]
    fn what_fits_several_is_listed_within_bounds() {
        let mut hostile = lock();
        hostile.id = LockId::of_key(b"lock:\x1b[2J");
        let said = ambiguous("4", &[&lock(), &hostile], 2);
        assert_eq!(said.exit(), Exit::Usage);
        let said = said.to_string();
        assert!(said.contains("`4` fits 2 locks:\n  orders/lock:stock:4711\n  orders/lock:\\u{1b}[2J\nhint"), "{said}");
        let many = vec![&hostile; 100];
        let said = ambiguous("4", &many, 5_000).to_string();
        assert!(said.contains("\n  and 4980 more") && said.lines().count() == 23, "{said}");
    }

    #[test]
    fn what_was_not_seen_whole_is_not_said_to_hold_nothing() {
        let mut coverage = Coverage { complete: true, sources: vec![source("orders"), source("stock")] };
        let places = [("orders".to_owned(), lock().id), ("stock".to_owned(), lock().id)];
        assert!(!not_held("x", None, &places, &coverage).to_string().contains("as far as is known"));
        coverage.complete = false;
        assert!(not_held("x", None, &places, &coverage).to_string().contains("as far as is known"));
    }
}
