use leptos::prelude::*;
use lockkeeper_model::words::{bytes, shown};
use wasm_bindgen_futures::spawn_local;

use crate::components::Facts;
use crate::components::PageHead;
use crate::components::sheet::{Block, Cell, Sheet, Table};
use crate::lang::{Language, Wording, count, duration, t};
use crate::live::json::Value;
use crate::live::{api, poll};
use crate::ui::{When, day, flag, hms, maybe, text};

/// How often the settings are asked for again, in seconds: they change when the server reads its configuration.
const EVERY_S: i64 = 30;

const DAY_MS: i64 = 86_400_000;

/// Who one is here, what one may do, what is asked of whoever releases, and how the server is set up.
#[component]
pub(crate) fn SettingsPage() -> impl IntoView {
    let polled = poll(maybe(|| Some("/api/v1/settings".to_owned())), EVERY_S);
    let blocks = move |tell: fn(&Value) -> Vec<Block>| {
        Memo::new(move |_| polled.answer.with(|answer| answer.as_ref().map(tell).unwrap_or_default()))
    };
    let (me, rules) = (blocks(who), blocks(set_up));
    // Whoever has no session cannot be signed out.
    let has_session = flag(move || {
        polled
            .answer
            .with(|answer| answer.as_ref().is_some_and(|it| matches!(it.field("me").text("via"), "password" | "oidc")))
    });
    let refused = RwSignal::new(None::<String>);
    let leave = move |_| {
        spawn_local(async move {
            match api::sign_out_everywhere().await {
                Ok(()) => drop(window().location().reload()),
                Err(refusal) => refused.set(Some(shown(&refusal.detail))),
            }
        });
    };
    view! {
        <main class="page">
            <PageHead title=text(|| t!(settings)) polled />
            <Sheet blocks=me />
            <Tongue />
            <When holds=has_session>
                <p>
                    <button type="button" class="plain" on:click=leave>
                        {t!(sign_out_everywhere)}
                    </button>
                    " "
                    <small>{t!(ends_every_session_of_yours)}</small>
                </p>
            </When>
            <p class="said" role="status">
                {maybe(move || refused.get())}
            </p>
            <Sheet blocks=rules />
        </main>
    }
}

/// Which language the page speaks, in this browser.
#[component]
fn Tongue() -> impl IntoView {
    let wording = expect_context::<Wording>();
    let choose = move |tag: String| {
        wording.choose(Language::ALL.into_iter().find(|language| language.tag() == tag));
    };
    view! {
        <p>
            <label>
                {t!(language)} " "
                <select class="chip" on:change:target=move |event| choose(event.target().value())>
                    <option value="" selected=flag(move || wording.chosen.get().is_none())>
                        {t!(language_of_browser)}
                    </option>
                    {Language::ALL
                        .into_iter()
                        .map(|language| {
                            view! {
                                <option
                                    value=language.tag()
                                    lang=language.tag()
                                    selected=flag(move || wording.chosen.get() == Some(language))
                                >
                                    {language.own_name()}
                                </option>
                            }
                        })
                        .collect_view()}
                </select>
            </label>
        </p>
    }
}

fn who(settings: &Value) -> Vec<Block> {
    let me = settings.field("me");
    let roles: Vec<String> = me.texts("roles").map(shown).collect();
    let via = match me.text("via") {
        "loopback" => t!(nobody_is_asked_only_this),
        "password" => t!(by_a_password),
        "token" => t!(by_a_token),
        "proxy" => t!(a_proxy_says_so),
        "oidc" => t!(the_sign_in_provider_says),
        _ => t!(unknown),
    };
    let mut facts: Facts = vec![
        (t!(settings_name), shown(me.text("name"))),
        (t!(known), via.to_owned()),
        (t!(roles), if roles.is_empty() { t!(none).to_owned() } else { roles.join(", ") }),
    ];
    if let Some(end) = me.time("ends_at") {
        facts.push((t!(until_heading), t!(unless_it_is_used_before, day(end), hms(end))));
    }
    let mut blocks = vec![Block::Heading(t!(you).to_owned()), Block::Facts(facts)];
    let grants = settings.items("grants");
    if grants.is_empty() {
        blocks.push(Block::Say("warn", t!(no_role_grants_you_anything).to_owned()));
    } else {
        let rows = grants.iter().map(|grant| scope(grant).into_iter().map(Cell::of).collect()).collect();
        let label = t!(what_you_may_do_and).to_owned();
        blocks.push(Block::Table(Table { label, heads: vec![t!(you_may), t!(in_sources), t!(on_locks)], rows }));
    }
    blocks
}

/// The rights of a grant, and where it holds.
fn scope(grant: &Value) -> [String; 3] {
    let list = |name: &str| {
        let texts: Vec<String> = grant.texts(name).map(shown).collect();
        match (grant.field(name), texts.is_empty()) {
            (Value::Null, _) => t!(not_told_for_whoever_sees).to_owned(),
            (_, true) => t!(all).to_owned(),
            (_, false) => texts.join(", "),
        }
    };
    [list("rights"), list("sources"), list("keys")]
}

fn set_up(settings: &Value) -> Vec<Block> {
    let mut blocks = Vec::new();
    let release = settings.field("release");
    if *release != Value::Null {
        blocks.push(Block::Heading(t!(releasing_in_settings).to_owned()));
        blocks.push(Block::Facts(rules(release)));
    }
    let links = settings.items("links");
    if *release != Value::Null {
        blocks.push(Block::Heading(t!(links).to_owned()));
        blocks.push(match links.is_empty() {
            true => Block::Say("calm", t!(none_link_in_lockkeeper_toml).to_owned()),
            false => {
                let row = |link: &Value| {
                    vec![Cell::of(shown(link.text("name"))), Cell::of(shown(link.text("template"))).copied_as(t!(link))]
                };
                let label = t!(links_on_every_locks_page).to_owned();
                Block::Table(Table {
                    label,
                    heads: vec![t!(link), t!(leads_to)],
                    rows: links.iter().map(row).collect(),
                })
            }
        });
    }
    let server = settings.field("server");
    if *server == Value::Null {
        return blocks;
    }
    blocks.push(Block::Heading(t!(server).to_owned()));
    blocks.push(Block::Facts(serves(server)));
    let table = |label: &str, heads: Vec<&'static str>, rows: Vec<Vec<Cell>>| {
        Block::Table(Table { label: label.to_owned(), heads, rows })
    };
    let source = |source: &Value| {
        let patterns: Vec<String> = source.texts("patterns").map(shown).collect();
        let patterns = if patterns.is_empty() { t!(the_built_in_catalogue).to_owned() } else { patterns.join(", ") };
        let budget = source.number("budget_commands_per_second").map_or_else(|| t!(unknown).to_owned(), count);
        vec![
            Cell::of(shown(source.text("name"))).under(shown(source.text("environment"))).copied_as(t!(source)),
            Cell::of(shown(source.text("kind"))).under(shown(source.text("address"))),
            Cell::of(patterns).copied_as(t!(patterns)),
            Cell::of(budget).under(t!(commands_a_second)),
            Cell::of(switched(source.holds("release_enabled"))),
        ]
    };
    let heads = vec![t!(source), t!(store), t!(patterns), t!(budget), t!(releasing_in_settings)];
    blocks.push(table(t!(how_each_source_is_watched), heads, server.items("sources").iter().map(source).collect()));
    let formats = server.items("formats");
    if !formats.is_empty() {
        let row = |format: &Value| {
            let wakes = if format.holds("signal") { t!(are_woken) } else { t!(are_not_woken) };
            vec![Cell::of(shown(format.text("name"))), Cell::of(shown(format.text("pattern"))), Cell::of(wakes)]
        };
        let heads = vec![t!(format_taught), t!(keys_plural), t!(after_a_release_waiters)];
        blocks.push(table(t!(formats_that_were_taught), heads, formats.iter().map(row).collect()));
    }
    let roles = server.items("roles");
    if !roles.is_empty() {
        let row = |role: &Value| {
            let groups: Vec<String> = role.texts("groups").map(shown).collect();
            let mut row = vec![Cell::of(shown(role.text("name"))).under(groups.join(", "))];
            row.extend(scope(role.field("grant")).into_iter().map(Cell::of));
            row
        };
        let heads = vec![t!(role), t!(may), t!(in_sources), t!(on_locks)];
        blocks.push(table(t!(roles_and_the_groups_that), heads, roles.iter().map(row).collect()));
    }
    blocks
}

fn rules(release: &Value) -> Facts {
    let number = |name: &str| release.number(name).map_or_else(|| t!(unknown).to_owned(), count);
    let place = if release.holds("limits_everywhere") { t!(in_every_source) } else { t!(in_production) };
    let cool_down = release.number("cool_down_ms").map_or_else(
        || t!(unknown).to_owned(),
        |ms| match ms {
            0 => t!(none).to_owned(),
            ms => t!(after_a_release, duration(i64::try_from(ms).unwrap_or(i64::MAX)), place),
        },
    );
    let pattern = match release.text("reason_pattern") {
        "" => t!(needed_any_will_do).to_owned(),
        pattern => t!(needed_in_production_it_has, shown(pattern)),
    };
    let second = if release.holds("two_persons") { t!(in_production) } else { t!(not_needed) };
    vec![
        (t!(releasing_in_settings), switched(release.holds("enabled"))),
        (t!(at_once), t!(up_to_locks, number("max_locks"))),
        (t!(attempts), t!(a_minute_for_one_person, number("attempts_per_minute"), place)),
        (t!(cool_down), cool_down),
        (t!(second_person), second.to_owned()),
        (t!(reason_in_settings), pattern),
    ]
}

fn serves(server: &Value) -> Facts {
    let yes = |name: &str, yes: &str, no: &str| if server.holds(name) { yes } else { no }.to_owned();
    let keep = server.number("history_keep_ms").map_or_else(|| t!(unknown).to_owned(), |ms| count(ms / DAY_MS as u64));
    let most = server.number("history_max_bytes").map_or_else(|| t!(unknown).to_owned(), bytes);
    let (folder, history) = match server.text("data_dir") {
        "" => (t!(none_nothing_outlives_the_server).to_owned(), t!(none).to_owned()),
        dir => (shown(dir), t!(up_to_days_and, keep, most)),
    };
    vec![
        (t!(version), shown(server.text("version"))),
        (t!(listens_on), format!("{}, {}", shown(server.text("listen")), yes("tls", t!(with_tls), t!(without_tls)))),
        (t!(folder), folder),
        (t!(history), history),
        (t!(webhook), yes("audit_webhook", t!(told_of_every_entry_of), t!(none))),
        (t!(traces_of_requests), yes("telemetry", t!(sent_to_a_collector), t!(not_sent))),
        (t!(tracing_stores), switched(server.holds("trace_enabled"))),
    ]
}

fn switched(on: bool) -> String {
    if on { t!(switched_on) } else { t!(switched_off) }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::json::parse;

    #[test]
    fn ones_own_rights_are_told_with_where_they_hold() {
        let answer = parse(
            r#"{"me":{"name":"ada","via":"oidc","roles":["oncall"],"ends_at":null},"grants":[
            {"rights":["view","release"],"sources":["orders"],"keys":[]}],"links":[],"release":null,"server":null}"#,
        );
        let settings = answer.unwrap();
        let blocks = who(&settings);
        let Some(Block::Table(table)) = blocks.last() else { panic!("{blocks:#?}") };
        let said: Vec<&str> = table.rows[0].iter().map(|cell| cell.says.as_str()).collect();
        assert_eq!(said, ["view, release", "orders", "all"]);
        assert!(set_up(&settings).is_empty(), "what one may not know is not there");
        let nobody = who(&parse(r#"{"me":{"name":"x","via":"proxy","roles":[]},"grants":[]}"#).unwrap());
        assert!(matches!(nobody.last(), Some(Block::Say("warn", _))));
    }

    #[test]
    fn what_an_admin_is_not_told_is_said_to_be_untold_and_never_all() {
        let grant = parse(r#"{"rights":["view"],"sources":null,"keys":null}"#).unwrap();
        assert_eq!(scope(&grant)[1], "not told: for whoever sees everything");
    }

    #[test]
    fn rules_say_where_they_apply() {
        let release = parse(
            r#"{"enabled":true,"max_locks":100,"attempts_per_minute":30,"cool_down_ms":10000,"limits_everywhere":false,
            "two_persons":true,"reason_pattern":"INC-\\d+"}"#,
        );
        let said = rules(&release.unwrap());
        assert_eq!(said[2].1, "30 a minute for one person, in production");
        assert_eq!(said[5].1, "needed; in production it has to match INC-\\d+");
    }
}
