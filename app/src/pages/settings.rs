use leptos::prelude::*;
use lockkeeper_model::words::{bytes, count, duration, shown};
use wasm_bindgen_futures::spawn_local;

use crate::components::Facts;
use crate::components::PageHead;
use crate::components::sheet::{Block, Cell, Sheet, Table};
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
            <PageHead title=text(|| "Settings") polled />
            <Sheet blocks=me />
            <When holds=has_session>
                <p>
                    <button type="button" class="plain" on:click=leave>
                        "Sign out everywhere"
                    </button>
                    " "
                    <small>"Ends every session of yours, this one included, and every page that is open in them."</small>
                </p>
            </When>
            <p class="said" role="status">
                {maybe(move || refused.get())}
            </p>
            <Sheet blocks=rules />
        </main>
    }
}

fn who(settings: &Value) -> Vec<Block> {
    let me = settings.field("me");
    let roles: Vec<String> = me.texts("roles").map(shown).collect();
    let via = match me.text("via") {
        "loopback" => "nobody is asked: only this machine is served",
        "password" => "by a password",
        "token" => "by a token",
        "proxy" => "a proxy says so",
        "oidc" => "the sign-in provider says so",
        _ => "unknown",
    };
    let mut facts: Facts = vec![
        ("Name", shown(me.text("name"))),
        ("Known", via.to_owned()),
        ("Roles", if roles.is_empty() { "none".to_owned() } else { roles.join(", ") }),
    ];
    if let Some(end) = me.time("ends_at") {
        facts.push(("Until", format!("{} {}, unless it is used before", day(end), hms(end))));
    }
    let mut blocks = vec![Block::Heading("You".to_owned()), Block::Facts(facts)];
    let grants = settings.items("grants");
    if grants.is_empty() {
        blocks.push(Block::Say("warn", "No role grants you anything here: you see no lock.".to_owned()));
    } else {
        let rows = grants.iter().map(|grant| scope(grant).into_iter().map(Cell::of).collect()).collect();
        let label = "What you may do, and where".to_owned();
        blocks.push(Block::Table(Table { label, heads: vec!["You may", "In sources", "On locks"], rows }));
    }
    blocks
}

/// The rights of a grant, and where it holds.
fn scope(grant: &Value) -> [String; 3] {
    let list = |name: &str| {
        let texts: Vec<String> = grant.texts(name).map(shown).collect();
        match (grant.field(name), texts.is_empty()) {
            (Value::Null, _) => "not told: for whoever sees everything".to_owned(),
            (_, true) => "all".to_owned(),
            (_, false) => texts.join(", "),
        }
    };
    [list("rights"), list("sources"), list("keys")]
}

fn set_up(settings: &Value) -> Vec<Block> {
    let mut blocks = Vec::new();
    let release = settings.field("release");
    if *release != Value::Null {
        blocks.push(Block::Heading("Releasing".to_owned()));
        blocks.push(Block::Facts(rules(release)));
    }
    let links = settings.items("links");
    if *release != Value::Null {
        blocks.push(Block::Heading("Links".to_owned()));
        blocks.push(match links.is_empty() {
            true => Block::Say(
                "calm",
                "None: `[[link]]` in lockkeeper.toml names other tools that know a lock or its holder.".to_owned(),
            ),
            false => {
                let row =
                    |link: &Value| vec![Cell::of(shown(link.text("name"))), Cell::of(shown(link.text("template")))];
                let label = "Links on every lock's page".to_owned();
                Block::Table(Table { label, heads: vec!["Link", "Leads to"], rows: links.iter().map(row).collect() })
            }
        });
    }
    let server = settings.field("server");
    if *server == Value::Null {
        return blocks;
    }
    blocks.push(Block::Heading("Server".to_owned()));
    blocks.push(Block::Facts(serves(server)));
    let table = |label: &str, heads: Vec<&'static str>, rows: Vec<Vec<Cell>>| {
        Block::Table(Table { label: label.to_owned(), heads, rows })
    };
    let source = |source: &Value| {
        let patterns: Vec<String> = source.texts("patterns").map(shown).collect();
        let patterns = if patterns.is_empty() { "the built-in catalogue".to_owned() } else { patterns.join(", ") };
        let budget = source.number("budget_commands_per_second").map_or_else(|| "unknown".to_owned(), count);
        vec![
            Cell::of(shown(source.text("name"))).under(shown(source.text("environment"))),
            Cell::of(shown(source.text("kind"))).under(shown(source.text("address"))),
            Cell::of(patterns),
            Cell::of(budget).under("commands a second"),
            Cell::of(switched(source.holds("release_enabled"))),
        ]
    };
    let heads = vec!["Source", "Store", "Patterns", "Budget", "Releasing"];
    blocks.push(table("How each source is watched", heads, server.items("sources").iter().map(source).collect()));
    let formats = server.items("formats");
    if !formats.is_empty() {
        let row = |format: &Value| {
            let wakes = if format.holds("signal") { "are woken" } else { "are not woken" };
            vec![Cell::of(shown(format.text("name"))), Cell::of(shown(format.text("pattern"))), Cell::of(wakes)]
        };
        let heads = vec!["Format taught", "Keys", "After a release, waiters"];
        blocks.push(table("Formats that were taught", heads, formats.iter().map(row).collect()));
    }
    let roles = server.items("roles");
    if !roles.is_empty() {
        let row = |role: &Value| {
            let groups: Vec<String> = role.texts("groups").map(shown).collect();
            let mut row = vec![Cell::of(shown(role.text("name"))).under(groups.join(", "))];
            row.extend(scope(role.field("grant")).into_iter().map(Cell::of));
            row
        };
        let heads = vec!["Role", "May", "In sources", "On locks"];
        blocks.push(table("Roles, and the groups that have them", heads, roles.iter().map(row).collect()));
    }
    blocks
}

fn rules(release: &Value) -> Facts {
    let number = |name: &str| release.number(name).map_or_else(|| "unknown".to_owned(), count);
    let place = if release.holds("limits_everywhere") { "in every source" } else { "in production" };
    let cool_down = release.number("cool_down_ms").map_or_else(
        || "unknown".to_owned(),
        |ms| match ms {
            0 => "none".to_owned(),
            ms => format!("{} after a release, {place}", duration(i64::try_from(ms).unwrap_or(i64::MAX))),
        },
    );
    let pattern = match release.text("reason_pattern") {
        "" => "needed; any will do".to_owned(),
        pattern => format!("needed; in production it has to match {}", shown(pattern)),
    };
    let second = if release.holds("two_persons") { "in production" } else { "not needed" };
    vec![
        ("Releasing", switched(release.holds("enabled"))),
        ("At once", format!("up to {} locks", number("max_locks"))),
        ("Attempts", format!("{} a minute for one person, {place}", number("attempts_per_minute"))),
        ("Cool-down", cool_down),
        ("Second person", second.to_owned()),
        ("Reason", pattern),
    ]
}

fn serves(server: &Value) -> Facts {
    let yes = |name: &str, yes: &str, no: &str| if server.holds(name) { yes } else { no }.to_owned();
    let keep = server.number("history_keep_ms").map_or_else(|| "unknown".to_owned(), |ms| count(ms / DAY_MS as u64));
    let most = server.number("history_max_bytes").map_or_else(|| "unknown".to_owned(), bytes);
    let (folder, history) = match server.text("data_dir") {
        "" => ("none: nothing outlives the server".to_owned(), "none".to_owned()),
        dir => (shown(dir), format!("up to {keep} days and {most}")),
    };
    vec![
        ("Version", shown(server.text("version"))),
        ("Listens on", format!("{}, {}", shown(server.text("listen")), yes("tls", "with TLS", "without TLS"))),
        ("Folder", folder),
        ("History", history),
        ("Webhook", yes("audit_webhook", "told of every entry of the audit", "none")),
        ("Traces of requests", yes("telemetry", "sent to a collector", "not sent")),
        ("Tracing stores", switched(server.holds("trace_enabled"))),
    ]
}

fn switched(on: bool) -> String {
    if on { "switched on" } else { "switched off" }.to_owned()
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
