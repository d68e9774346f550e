use leptos::prelude::*;
use lockkeeper_model::Lock;
use lockkeeper_model::words::shown;

use crate::lang::t;
use crate::live::json::Value;
use crate::live::poll;
use crate::live::route::encode;
use crate::ui::{When, each, flag, maybe};

/// How often the links are asked for again, in seconds: they change when the server is started anew.
const EVERY_S: i64 = 300;

/// Where else there is something to read about a lock: links that the operator named.
#[component]
pub(crate) fn Links(
    /// The lock.
    lock: Memo<Option<Lock>>,
) -> impl IntoView {
    let settings = poll(maybe(|| Some("/api/v1/settings".to_owned())), EVERY_S);
    let links = Memo::new(move |_| {
        settings.answer.with(|answer| {
            lock.with(|lock| Some(filled(answer.as_ref()?.items("links"), lock.as_ref()?))).unwrap_or_default()
        })
    });
    let part = move |at: usize, second: bool| {
        maybe(move || {
            links.with(|links| links.get(at).map(|link| if second { link.1.clone() } else { link.0.clone() }))
        })
    };
    let link = move |at: usize| {
        view! {
            <a class="plain" target="_blank" rel="noopener noreferrer" href=part(at, true)>
                {part(at, false)}
                <span class="unseen">{t!(opens_a_new_tab)}</span>
            </a>
        }
    };
    view! {
        <When holds=flag(move || !links.with(Vec::is_empty))>
            <nav class="elsewhere" aria-label=t!(elsewhere)>
                {each(move || links.with(Vec::len), link)}
            </nav>
        </When>
    }
}

/// Names and addresses. A link that needs what is not known, or not known of one holder alone, is left out.
fn filled(links: &[Value], lock: &Lock) -> Vec<(String, String)> {
    let holder = match &lock.holders[..] {
        [only] => Some(only),
        _ => None,
    };
    let known = [
        ("{source}", Some(lock.source.clone())),
        ("{lock}", Some(lock.id.as_str().to_owned())),
        ("{holder}", holder.map(|holder| holder.token.clone().unwrap_or_else(|| holder.token_b64.clone()))),
        ("{host}", holder.and_then(|holder| holder.identity.host.clone())),
        ("{pid}", holder.and_then(|holder| holder.identity.pid).map(|pid| pid.to_string())),
    ];
    let fill = |link: &Value| {
        let mut address = link.text("template").to_owned();
        // The server has checked them; what would run here is not followed whatever it says.
        if !address.starts_with("https://") && !address.starts_with("http://") {
            return None;
        }
        for (place, value) in &known {
            if address.contains(place) {
                address = address.replace(place, &encode(value.as_ref()?));
            }
        }
        Some((shown(link.text("name")), address))
    };
    links.iter().filter_map(fill).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::lock;
    use crate::live::json::parse;

    #[test]
    fn a_link_is_filled_with_encoded_values_or_left_out() {
        let links = parse(
            r#"[{"name":"logs","template":"https://logs/?q={host}:{pid}&l={lock}"},
            {"name":"by token","template":"http://x/{source}/{holder}"},{"name":"run","template":"javascript:alert(1)"}]"#,
        );
        let Some(Value::List(links)) = links else { panic!() };
        let mut lock = lock();
        lock.holders[0].token = Some("a/{pid}&b".to_owned());
        assert_eq!(
            filled(&links, &lock),
            [
                ("logs".to_owned(), "https://logs/?q=worker-3:42&l=lock%3Astock%3A4711".to_owned()),
                ("by token".to_owned(), "http://x/orders/a%2F%7Bpid%7D%26b".to_owned()),
            ]
        );
        lock.holders[0].identity.pid = None;
        assert_eq!(filled(&links, &lock).len(), 1);
        lock.holders.push(lock.holders[0].clone());
        assert!(filled(&links, &lock).is_empty(), "of two holders none is the one");
    }
}
