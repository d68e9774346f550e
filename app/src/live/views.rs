//! Questions with a name: some that everybody asks, and those that somebody kept in this browser.

use super::route::Route;
use crate::lang::{Key, key, t};

/// Where they are kept.
pub(crate) const KEPT_AS: &str = "lockkeeper-views";

/// As many as can be kept: a list that is longer is searched, not read.
const MOST_KEPT: usize = 30;

/// The longest name, in characters.
pub(crate) const LONGEST_NAME: usize = 40;

/// A question with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// What it is called.
    pub(crate) name: String,
    /// Its address.
    pub(crate) href: String,
}

/// What everybody asks.
pub(crate) const BUILT_IN: [(Key<0>, &str); 6] = [
    (key::view_everything, "/"),
    (key::view_waited_for, "/?state=waiting"),
    (key::view_held_long, "/?q=held%3E5m&sort=held_since"),
    (key::view_no_expiry, "/?flag=no-expiry"),
    (key::view_stopped, "/?flag=renewal-stopped"),
    (key::view_unknown, "/?state=unknown_holder"),
];

/// The route of an address of the app.
pub(crate) fn route_of(href: &str) -> Route {
    let (path, query) = href.split_once('?').unwrap_or((href, ""));
    Route::parse(path, query)
}

/// Reads what was kept: a line each, the name and the address with a tab between. What is not understood is left out.
pub(crate) fn read(kept: &str) -> Vec<View> {
    let line = |line: &str| {
        let (name, href) = line.split_once('\t')?;
        // An address of another page would lead somewhere else than its name says.
        (!name.is_empty() && href.starts_with('/')).then(|| View { name: name.to_owned(), href: route_of(href).href() })
    };
    kept.lines().filter_map(line).take(MOST_KEPT).collect()
}

/// Writes them down.
pub(crate) fn written(views: &[View]) -> String {
    views.iter().map(|view| format!("{}\t{}\n", view.name, view.href)).collect()
}

/// Keeps a question under a name, in place of another of that name. Says why where it cannot be.
pub(crate) fn keep(views: &mut Vec<View>, name: &str, route: &Route) -> Result<(), &'static str> {
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect();
    if name.is_empty() {
        return Err(t!(it_needs_a_name));
    }
    let view = View { href: route.with_lock(None).href(), name };
    if let Some(known) = views.iter_mut().find(|known| known.name == view.name) {
        *known = view;
    } else if views.len() < MOST_KEPT {
        views.push(view);
    } else {
        return Err(t!(no_more_can_be_kept));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use lockkeeper_model::{LockId, Question};

    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_nonsense_is_left_out() {
        let question = Question { q: "holder:a\tb held>5m".to_owned(), ..Question::default() };
        let lock = Some(("orders".to_owned(), LockId::of_key(b"a")));
        let route = Route { question: question.clone(), lock, ..Route::default() };
        let mut views = Vec::new();
        keep(&mut views, " mine\n\t ", &route).unwrap();
        let read = read(&format!("{}nonsense\n\t/\nevil\thttps://elsewhere\n", written(&views)));
        assert_eq!(read, views);
        assert_eq!(route_of(&read[0].href), Route { question, ..Route::default() });
    }

    #[test]
    fn a_name_is_kept_once_and_their_number_is_bounded() {
        let mut views = Vec::new();
        assert!(keep(&mut views, " ", &Route::default()).is_err());
        for n in 0..MOST_KEPT {
            keep(&mut views, &n.to_string(), &Route::default()).unwrap();
        }
        assert!(keep(&mut views, "one more", &Route::default()).is_err());
        keep(&mut views, "0", &route_of("/?sort=name")).unwrap();
        assert_eq!((views.len(), views[0].href.as_str()), (MOST_KEPT, "/?sort=name"));
    }

    #[test]
    fn what_is_built_in_leads_where_it_says() {
        for (name, href) in BUILT_IN {
            let route = route_of(href);
            assert_eq!(route.href(), href, "{}", name.said());
            assert!(route.question.check().is_ok(), "{}", name.said());
        }
    }
}
