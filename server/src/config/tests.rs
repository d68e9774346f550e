//! Configurations as data: what was given on the left, what comes of it or the exact complaint on the right.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lockkeeper_model::FeedKind;

use super::cli::{LogFormat, Settings};
use super::error::{ConfigError, Given, Place};
use super::file::File;
use super::{Config, DEFAULT_COMMANDS_PER_SECOND, DEFAULT_RECONCILE_MS};
use crate::access::{Person, Right, Via};
use crate::release::Rules;

fn flag<T>(value: T, name: &'static str) -> Given<T> {
    Given::new(value, Place::Flag(name))
}

fn config(settings: Settings, toml: &str) -> Result<Config, ConfigError> {
    Config::merge(settings, File::parse(Path::new("lockkeeper.toml"), toml)?, None)
}

#[track_caller]
fn complains(toml: &str, message: &str) {
    let error = config(Settings::default(), toml).expect_err("the file must be refused");
    assert_eq!(error.to_string(), message);
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn nothing_given_watches_the_local_redis_read_only_and_listens_on_this_machine() {
    let config = config(Settings::default(), "").unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7420");
    assert!(!config.release.enabled);
    assert_eq!((config.trace_limit(), config.trace_max_commands_per_second), (None, 20_000));
    assert_eq!(config.log_format, LogFormat::Text);
    let [source] = config.sources.as_slice() else { panic!("{config:?}") };
    assert_eq!(source.name, "127.0.0.1:6379");
    assert_eq!(source.url.to_string(), "redis://127.0.0.1:6379");
    assert_eq!((source.commands_per_second, source.reconcile_ms), (50_000, 300_000));
    assert_eq!((source.feed, source.patterns.len()), (None, 0));
}

#[test]
fn several_masters_are_one_source() {
    let text = "[[source]]\nkind = 'redlock'\nurls = ['redis://a', 'redis://:hunter2@b/2', 'redis://c']\npatterns = ['lock:*']";
    let config = config(Settings::default(), text).unwrap();
    let [source] = config.sources.as_slice() else { panic!("{config:?}") };
    assert_eq!(source.name, "a:6379 and 2 more");
    let redlock = source.to_redlock(true, None, false).unwrap();
    let names: Vec<&str> = redlock.masters.iter().map(|master| master.name.as_str()).collect();
    assert_eq!((redlock.name.as_str(), names), ("a:6379 and 2 more", vec!["a:6379", "b:6379/2", "c:6379"]));
    assert!(redlock.masters.iter().all(|master| master.release_enabled && master.patterns == ["lock:*"]));
    assert!(!format!("{config:?} {redlock:?}").contains("hunter2"));
}

#[test]
fn releasing_may_take_a_credential_of_its_own_for_the_same_store() {
    let source = |more: &str| format!("[[source]]\nurl = 'redis://watch:hunter2@a/2'\n{more}");
    let config = config(Settings::default(), &source("release_url = 'redis://free:hunter2@a:6379/2'")).unwrap();
    let redis = config.sources[0].to_redis(true, None, false);
    assert_eq!(redis.release_credentials.as_ref().unwrap().user.as_deref(), Some("free"));
    assert_eq!(redis.credentials.user.as_deref(), Some("watch"));
    assert!(!format!("{config:?} {redis:?}").contains("hunter2"));
    for elsewhere in ["redis://free:hunter2@b/2", "redis://free:hunter2@a/3", "rediss://free:hunter2@a/2"] {
        let shown = elsewhere.replace("free:hunter2@", "").replace("/2", ":6379/2").replace("/3", ":6379/3");
        complains(
            &source(&format!("release_url = '{elsewhere}'")),
            &format!(
                "lockkeeper.toml:3:15: `source.release_url` is `{shown}`, expected `redis://a:6379/2` with another user and \
                 password: it must lead to the store that is watched"
            ),
        );
    }
    complains(
        &source("release_urls = ['redis://free:hunter2@a/2']"),
        "lockkeeper.toml:3:16: `source.release_urls` belongs to `kind = \"redlock\"`",
    );
}

#[test]
fn each_master_may_take_a_credential_of_its_own_for_releasing() {
    let quorum = "[[source]]\nkind = 'redlock'\nurls = ['redis://a', 'redis://b', 'redis://c']\n";
    let text = format!("{quorum}release_urls = ['redis://x:1@a', 'redis://y:2@b', 'redis://z:3@c']");
    let config = config(Settings::default(), &text).unwrap();
    let redlock = config.sources[0].to_redlock(true, None, false).unwrap();
    let users = redlock.masters.iter().map(|master| master.release_credentials.clone().unwrap().user.unwrap());
    assert_eq!(users.collect::<Vec<_>>(), ["x", "y", "z"]);
    complains(
        &format!("{quorum}release_urls = ['redis://x:hunter2@a']"),
        "lockkeeper.toml:4:16: `source.release_urls` is `1 URL`, expected one for each of the 3 in `urls`, in the same order",
    );
    complains(
        &format!("{quorum}release_url = 'redis://x:hunter2@a'"),
        "lockkeeper.toml:4:15: `source.release_url` belongs to `kind = \"redis\"`; a Redlock quorum has `release_urls`",
    );
}

#[test]
fn every_key_of_the_file_is_understood() {
    let config = config(
        Settings::default(),
        r#"
        listen = "[::1]:7500"
        data_dir = "/tmp"
        log_format = "json"
        [[source]]
        name = "orders"
        kind = "redis"
        url = "redis://app:hunter2@127.0.0.1:6380/2"
        patterns = ["lock:*", "mutex:*"]
        environment = "production"
        budget = { commands_per_second = 1_000 }
        feed = "polling"
        reconcile = "5m"
        reports = "lockkeeper:reports"
        [[source]]
        url = "redis://127.0.0.1:6380/2"
        reconcile = 90
        [release]
        enabled = true
        [trace]
        enabled = true
        max_commands_per_second = 7_000
        "#,
    )
    .unwrap();
    assert_eq!(config.listen.to_string(), "[::1]:7500");
    assert_eq!(config.data_dir, Some(PathBuf::from("/tmp")));
    assert_eq!(config.log_format, LogFormat::Json);
    assert!(config.release.enabled);
    assert_eq!(config.trace_limit(), Some(7_000));
    let [orders, other] = config.sources.as_slice() else { panic!("{config:?}") };
    assert_eq!(orders.name, "orders");
    assert_eq!(orders.patterns, ["lock:*", "mutex:*"]);
    assert_eq!(orders.environment.as_deref(), Some("production"));
    assert_eq!((orders.commands_per_second, orders.reconcile_ms), (1_000, 300_000));
    assert_eq!(orders.feed, Some(FeedKind::Polling));
    assert_eq!((orders.reports.as_deref(), &other.reports), (Some("lockkeeper:reports"), &None));
    assert_eq!(orders.url.credentials().password.as_deref(), Some("hunter2"));
    assert_eq!((other.name.as_str(), other.reconcile_ms), ("127.0.0.1:6380/2", 90_000));
    assert_eq!(other.commands_per_second, DEFAULT_COMMANDS_PER_SECOND);
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn flags_win_over_the_file() {
    let settings = Settings {
        redis: vec![flag("redis://a".into(), "--redis"), flag("redis://a".into(), "--redis")],
        patterns: vec![flag("lock:*".into(), "--pattern")],
        listen: Some(flag("localhost:7421".into(), "--listen")),
        allow_release: Some(flag(false, "--allow-release")),
        ..Settings::default()
    };
    let config = config(
        settings,
        "listen = '127.0.0.1:1'\n[[source]]\nname = 'f'\nurl = 'redis://f'\n[release]\nenabled = true",
    )
    .unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7421");
    assert!(!config.release.enabled);
    let named: Vec<_> = config.sources.iter().map(|source| (source.name.as_str(), source.patterns.len())).collect();
    assert_eq!(named, [("a:6379", 1), ("a:6379 (2)", 1)]);
    assert_eq!(config.sources[0].reconcile_ms, DEFAULT_RECONCILE_MS);
}

#[test]
fn a_derived_name_never_takes_a_given_one() {
    let config =
        config(Settings::default(), "[[source]]\nurl = 'redis://a'\n[[source]]\nname = 'a:6379'\nurl = 'redis://b'")
            .unwrap();
    let names: Vec<_> = config.sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["a:6379 (2)", "a:6379"]);
}

#[test]
fn complaints_name_file_line_column_key_value_and_what_is_expected() {
    complains(
        "lisen = '127.0.0.1:7420'",
        "lockkeeper.toml:1:1: `lisen` is not a key here, expected one of listen, data_dir, store, log_format, source, format, \
         link, access, role, tls, release, trace, audit, history, metrics, telemetry, warning, webhook",
    );
    complains(
        "\n[[source]]\nurl = 'redis://a'\npattern = 'x'",
        "lockkeeper.toml:4:1: `source.pattern` is not a key here, expected one of name, kind, url, urls, release_url, \
         release_urls, tls, sentinel, patterns, environment, budget, feed, reconcile, reports",
    );
    complains(
        "[[source]]\nurl = 'redis://a'\nbudget = { commands = 1 }",
        "lockkeeper.toml:3:12: `source.budget.commands` is not a key here, expected one of commands_per_second",
    );
    complains("listen = 7420", "lockkeeper.toml:1:10: `listen` is an integer, expected a string");
    complains(
        "listen = '7420'",
        "lockkeeper.toml:1:10: `listen` is `7420`, expected an address and a port such as `127.0.0.1:7420` or \
         `[::1]:7420`",
    );
    complains("[[source]]\nname = 'x'", "lockkeeper.toml:1:1: `source.url` is missing, expected `url = \"redis://…\"`");
    complains(
        "[source]\nurl = 'redis://:hunter2@a'",
        "lockkeeper.toml:1:1: `source` is a table, expected tables, each begun by `[[source]]`",
    );
    complains(
        "[[source]]\n  url = 'redis://:hunter2@a:x'",
        "lockkeeper.toml:2:9: `source.url` is not a URL (invalid port number), expected \
         `redis://[[user]:password@]host[:port][/db]`",
    );
    complains(
        "[[source]]\nurl = ['redis://:hunter2@a']",
        "lockkeeper.toml:2:7: `source.url` is a list, expected a string",
    );
    complains(
        "[[source]]\nkind = 'redlock'\nurls = ['redis://:hunter2@a']",
        "lockkeeper.toml:3:8: `source.urls` is `1 URL`, expected 3 to 9 independent masters",
    );
    complains(
        "[[source]]\nkind = 'redlock'\nurls = ['redis://a', 'redis://:hunter2@b', 'redis://c', 'redis://:hunter2@b:6379/1']",
        "lockkeeper.toml:3:57: `source.urls` is `b:6379/1`, expected a master that is not named before: each has one \
         vote",
    );
    complains(
        "[[source]]\nkind = 'redlock'\nurls = ['redis://a', 'http://:hunter2@b', 'redis://c']",
        "lockkeeper.toml:3:22: `source.urls` does not begin with `redis://`, `redis-sentinel://` or `redis-cluster://` \
         (or, with TLS, `rediss…://`), expected `redis://[[user]:password@]host[:port][/db]`",
    );
    complains(
        "[[source]]\nkind = 'redlock'",
        "lockkeeper.toml:1:1: `source.urls` is missing, expected `urls = [\"redis://…\", …]`",
    );
    complains(
        "[[source]]\nkind = 'redlock'\nurl = 'redis://:hunter2@a'",
        "lockkeeper.toml:3:7: `source.url` belongs to `kind = \"redis\"`; a Redlock quorum has `urls`",
    );
    complains(
        "[[source]]\nurls = 'redis://:hunter2@a'",
        "lockkeeper.toml:2:8: `source.urls` is a string, expected a list of strings",
    );
    complains(
        "[[source]]\nurls = ['redis://:hunter2@a']",
        "lockkeeper.toml:2:8: `source.urls` belongs to `kind = \"redlock\"`",
    );
    complains(
        "[[source]]\nkind = 'etcd'\nurl = 'x'",
        "lockkeeper.toml:2:8: `source.kind` is `etcd`, expected `redis` or `redlock`",
    );
    complains(
        "[[source]]\nurl = 'redis://a'\npatterns = ['ok', '']",
        "lockkeeper.toml:3:19: `source.patterns` is ``, expected a key pattern of 1 to 512 bytes, such as `lock:*`",
    );
    complains(
        "[[source]]\nurl = 'redis://a'\nfeed = 'psychic'",
        "lockkeeper.toml:3:8: `source.feed` is `psychic`, expected one of `automatic`, `tracking`, `notifications`, \
         `polling`",
    );
    complains(
        "[[source]]\nurl = 'redis://a'\nreports = ''",
        "lockkeeper.toml:3:11: `source.reports` is ``, expected the key of a stream, of 1 to 1024 bytes, such as \
         `lockkeeper:reports`",
    );
    complains(
        "[[source]]\nurl = 'redis://a'\nreconcile = '5 weeks'",
        "lockkeeper.toml:3:13: `source.reconcile` is `5 weeks`, expected seconds, or a duration such as `\"90s\"`, \
         `\"5m\"` or `\"1h\"`, from 1 s to 24 h",
    );
    complains(
        "[[source]]\nurl = 'redis://a'\nbudget.commands_per_second = -1",
        "lockkeeper.toml:3:30: `source.budget.commands_per_second` is `-1`, expected a whole number above 0",
    );
    complains(
        "[history]\nmax_mb = 1",
        "lockkeeper.toml:2:10: `history.max_mb` is `1`, expected a whole number from 16 up",
    );
    complains(
        "[[source]]\nname = 'x'\nurl = 'redis://a'\n[[source]]\nname = 'x'\nurl = 'redis://b'",
        "lockkeeper.toml:5:8: `source.name` is `x`, expected a name that no other source has",
    );
    complains(
        "[[source]]\nname = ' x'\nurl = 'redis://a'",
        "lockkeeper.toml:2:8: `source.name` is ` x`, expected 1 to 64 visible characters without a space at either end",
    );
    complains(
        "[release]\nenabled = 'yes'",
        "lockkeeper.toml:2:11: `release.enabled` is a string, expected `true` or `false`",
    );
}

#[test]
fn roles_are_granted_to_groups() {
    let config = config(
        Settings::default(),
        r#"
        [[source]]
        name = "orders"
        url = "redis://a"
        [[role]]
        name = "oncall"
        groups = ["sre", "/teams/on call"]
        rights = ["view", "release"]
        sources = ["orders", "bill*"]
        keys = ["lock:*"]
        [[role]]
        name = "look"
        groups = ["sre"]
        rights = ["view"]
        [access]
        tokens_file = "tokens.toml"
        "#,
    )
    .unwrap();
    let roles = config.policy.roles_of(&["sre"]);
    assert_eq!(roles.iter().map(|role| &**role).collect::<Vec<_>>(), ["oncall", "look"]);
    let one = Person { via: Via::Proxy, roles: config.policy.roles_of(&["/teams/on call"]), ..Person::loopback() };
    let scope = config.policy.scope(&one);
    assert!(scope.may(Right::Release, "orders", b"lock:x") && scope.may(Right::View, "billing", b"lock:x"));
    assert!(!scope.may(Right::Release, "orders", b"x") && !scope.may(Right::Trace, "orders", b"lock:x"));
}

#[test]
fn a_wrong_role_is_refused_with_its_place() {
    let role = "[[source]]\nname = 'orders'\nurl = 'redis://a'\n[[role]]\nname = 'oncall'\nrights = ['view']\n";
    complains(
        &role.replace("'view'", "'view', 'delete'"),
        "lockkeeper.toml:6:19: `role.rights` is `delete`, expected one of `view`, `annotate`, `trace`, `release`, `hold`, \
         `bulk`, `approve`, `admin`",
    );
    complains(
        &format!("{role}sources = ['orders', 'order']"),
        "lockkeeper.toml:7:22: `role.sources` is `order`, expected a pattern, or one of the sources `orders`",
    );
    complains(
        &format!("{role}keys = []"),
        "lockkeeper.toml:7:8: `role.keys` is `an empty list`, expected 1 to 64 patterns; without the key, there is no limit",
    );
    complains(
        &format!("{role}groups = ['']"),
        "lockkeeper.toml:7:11: `role.groups` is ``, expected the name of a group, of 1 to 512 bytes",
    );
    complains(
        &format!("{role}[[role]]\nname = 'oncall'\nrights = []"),
        "lockkeeper.toml:8:8: `role.name` is `oncall`, expected a name that no other role has; several roles may name the \
         same group",
    );
    complains(
        "[[role]]\nname = 'oncall'",
        "lockkeeper.toml:1:1: `role.rights` is missing, expected a list such as `[\"view\", \"release\"]`",
    );
    complains(
        &format!("{role}right = ['view']"),
        "lockkeeper.toml:7:1: `role.right` is not a key here, expected one of name, groups, rights, sources, keys",
    );
}

#[test]
fn the_rules_of_a_release_are_understood_and_checked() {
    let text =
        "[release]\nenabled = true\nmax_locks = 5\nattempts_per_minute = 3\ncool_down = 0\nreason_pattern = 'INC-\\d+'";
    let rules = config(Settings::default(), text).unwrap().release;
    assert_eq!((rules.max_locks, rules.attempts_per_minute.get(), rules.cool_down), (5, 3, Duration::ZERO));
    assert_eq!(rules.reason_pattern.unwrap().as_str(), r"INC-\d+");
    assert_eq!(config(Settings::default(), "").unwrap().release, Rules::default());
    complains(
        "[release]\nmax_locks = 101",
        "lockkeeper.toml:2:13: `release.max_locks` is `101`, expected 1 to 100, which is as many as one ticket can carry",
    );
    complains(
        "[release]\nattempts_per_minute = 0",
        "lockkeeper.toml:2:23: `release.attempts_per_minute` is `0`, expected a whole number above 0",
    );
    complains(
        "[release]\nenabled = true\nreason_pattern = 'INC-('",
        "lockkeeper.toml:3:18: `release.reason_pattern` is `INC-(`, expected a regular expression that reasons are to \
         contain, such as `INC-\\d+` (unclosed group)",
    );
    complains(
        "[release]\ncool_down = '2d'",
        "lockkeeper.toml:2:13: `release.cool_down` is `2d`, expected seconds, or a duration such as `\"90s\"`, `\"5m\"` or \
         `\"1h\"`, from 0 s to 24 h",
    );
}

#[test]
fn roles_that_would_keep_nobody_from_anything_are_refused() {
    complains(
        ROLE,
        "lockkeeper.toml:1:1: `role` cannot be used: without `[access]` nobody is asked who they are, and whoever reaches \
         this server may do everything; say there how people sign in, for example `users_file = \"users.toml\"`",
    );
}

const ROLE: &str = "[[role]]\nname = 'oncall'\nrights = ['view']\n";

#[test]
fn access_is_understood_and_opens_other_addresses() {
    let text = format!(
        "{ROLE}[access]\ntokens_file = '/nowhere/tokens.toml'\nurl = 'https://locks.example.org'\nidle = '5m'\n\
         absolute = '8h'\n[access.proxy]\nheader = 'X-Forwarded-User'\ngroups_header = 'X-Forwarded-Groups'\n\
         peers = ['10.0.0.0/8', '192.0.2.1', '::1']\n[access.oidc]\nissuer = 'https://login.example.org/realm'\n\
         client_id = 'lockkeeper'\n"
    );
    let settings = Settings { listen: Some(flag("0.0.0.0:7420".into(), "--listen")), ..Settings::default() };
    let access = config(settings, &text).unwrap().access;
    assert!(access.is_configured() && access.secure);
    assert_eq!((access.limits.idle.as_secs(), access.limits.absolute.as_secs()), (300, 28_800));
    let proxy = access.proxy.unwrap();
    assert_eq!((proxy.header.as_str(), proxy.peers.len()), ("x-forwarded-user", 3));
    let oidc = access.oidc.unwrap();
    assert_eq!(oidc.redirect.as_str(), "https://locks.example.org/auth/callback");
    assert_eq!(
        (oidc.scopes.join(" "), oidc.name_claim, oidc.groups_claim),
        ("profile".into(), "preferred_username".into(), "groups".into())
    );
    assert!(!config(Settings::default(), "").unwrap().access.is_configured());
}

#[test]
fn access_that_lets_nobody_in_or_everybody_is_refused() {
    complains(
        "[access]\nidle = '5m'",
        "lockkeeper.toml:1:1: `access` cannot be used: it names no way to show who one is, expected one of users_file, \
         tokens_file, proxy, oidc",
    );
    complains(
        "[access]\ntokens_file = 't'",
        "lockkeeper.toml:1:1: `access` cannot be used: without a `[[role]]` nobody who signs in may do anything, expected for \
         example `role = [{ name = \"oncall\", groups = [\"oncall\"], rights = [\"view\", \"release\"] }]`",
    );
    complains(
        &format!("{ROLE}[access]\nusers_file = '/nowhere/users.toml'"),
        "lockkeeper.toml:5:14: `access.users_file` cannot be used: there is no file `/nowhere/users.toml`; `lockkeeper user \
         add NAME` makes it",
    );
    complains(
        &format!("{ROLE}[access.proxy]\nheader = 'X-User'"),
        "lockkeeper.toml:4:1: `access.proxy.peers` is missing, expected the addresses that the header is believed from, such \
         as `[\"10.0.0.0/8\"]`",
    );
    complains(
        &format!("{ROLE}[access.proxy]\nheader = 'X-User'\npeers = ['everywhere']"),
        "lockkeeper.toml:6:10: `access.proxy.peers` is `everywhere`, expected an address or a network such as `10.0.0.0/8`",
    );
    complains(
        &format!("{ROLE}[access.oidc]\nissuer = 'http://login.example.org'\nclient_id = 'l'"),
        "lockkeeper.toml:5:10: `access.oidc.issuer` is `http://login.example.org`, expected a URL with `https`, exactly as \
         the provider calls itself",
    );
    complains(
        &format!("{ROLE}[access.oidc]\nissuer = 'https://login.example.org'\nclient_id = 'l'"),
        "lockkeeper.toml:4:1: `access.oidc` cannot be used: the provider must know where to send people back to: set `url = \
         \"https://…\"` under `[access]`",
    );
    complains(
        &format!("{ROLE}[access]\ntokens_file = 't'\nurl = 'https://locks.example.org/locks'"),
        "lockkeeper.toml:6:7: `access.url` cannot be used: expected the address that browsers come to, such as \
         `https://locks.example.org`",
    );
    complains(
        "[tls]\ncert = 'cert.pem'",
        "lockkeeper.toml:1:1: `tls` cannot be used: it needs both `cert` and `key`, files in PEM form",
    );
}

#[test]
fn a_file_that_is_not_toml_is_not_quoted() {
    for broken in ["[[source]]\nurl = \"redis://:hunter2@a", "[[source]]\nurl = redis://:hunter2@a", "hunter2"] {
        let error = File::parse(Path::new("x.toml"), broken).unwrap_err();
        assert!(error.to_string().starts_with("x.toml:"), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn patterns_beside_the_files_sources_are_not_ignored_silently() {
    let settings = Settings { patterns: vec![flag("lock:*".into(), "--pattern")], ..Settings::default() };
    let error = config(settings, "[[source]]\nurl = 'redis://a'").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`--pattern` applies to the sources given by `--redis`, but the sources come from `lockkeeper.toml`"
    );
    assert!(error.hint().is_some());
}

#[test]
fn an_address_that_others_can_reach_is_refused_with_a_way_out() {
    for address in ["0.0.0.0:7420", "192.168.1.5:7420", "[::]:7420"] {
        let settings = Settings { listen: Some(flag(address.into(), "--listen")), ..Settings::default() };
        let error = config(settings, "").unwrap_err();
        assert!(error.to_string().contains("nothing says who may come"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("ssh -L 7420:127.0.0.1:7420"), "{hint}");
        // What is offered as a way out is one.
        let lines: String =
            hint.lines().filter_map(|line| line.strip_prefix("  ")).map(|line| format!("{line}\n")).collect();
        assert_eq!(lines.lines().count(), 3, "{hint}");
        let file = File::parse(Path::new("lockkeeper.toml"), &lines).unwrap();
        assert!(file.access.is_some() && file.tls.is_some() && file.roles.len() == 1);
    }
}

#[test]
fn the_demo_lets_people_release_and_trace_unless_told_otherwise() {
    let demo = Config::for_demo(Settings::default(), None).unwrap();
    assert!(demo.release.enabled && demo.trace_enabled);
    let off = Settings {
        allow_release: Some(flag(false, "--allow-release")),
        allow_trace: Some(flag(false, "--allow-trace")),
        ..Settings::default()
    };
    let off = Config::for_demo(off, None).unwrap();
    assert!(!off.release.enabled && !off.trace_enabled);
}

#[test]
fn a_webhook_is_told_over_tls_or_not_off_this_machine() {
    let config = |url: &str| config(Settings::default(), &format!("[audit]\nwebhook = '{url}'"));
    for url in ["https://hooks.example/x", "http://127.0.0.1:9000/x", "http://[::1]:9000/", "http://localhost/"] {
        let webhook = config(url).unwrap().audit_webhook.unwrap();
        assert_eq!((webhook.url.as_str(), webhook.secret), (url, None));
    }
    assert_eq!(Config::for_demo(Settings::default(), None).unwrap().audit_webhook, None);
    complains(
        "[audit]\nwebhook = 'http://hooks.example/hunter2'",
        "lockkeeper.toml:2:11: `audit.webhook` begins with `http://`, expected `https://`: who released what would be \
         readable on the way",
    );
    complains(
        "[audit]\nwebhook = 'ftp://hooks.example/hunter2'",
        "lockkeeper.toml:2:11: `audit.webhook` is no `https://` URL",
    );
    complains(
        "[audit]\nwebhook = 'hunter2'",
        "lockkeeper.toml:2:11: `audit.webhook` is not a URL (relative URL without a base)",
    );
    complains(
        "[audit]\nwebhook_secret_file = '/x'",
        "lockkeeper.toml:2:23: `audit.webhook_secret_file` means nothing without `webhook`",
    );
}

#[test]
fn the_webhooks_secret_is_read_from_its_file_and_never_shown() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("secret");
    let text = format!("[audit]\nwebhook = 'https://hooks.example/'\nwebhook_secret_file = '{}'", file.display());
    let complains_of = |part: &str| {
        let error = config(Settings::default(), &text).unwrap_err().to_string();
        assert!(error.starts_with("lockkeeper.toml:3:23: `audit.webhook_secret_file` cannot be used: `"), "{error}");
        assert!(error.contains(part) && !error.contains("hunter2"), "{error}");
    };
    complains_of("cannot be read");
    std::fs::write(&file, "hunter2\n").unwrap();
    complains_of("has 7 bytes, expected at least 16");
    std::fs::write(&file, "x".repeat(5_000)).unwrap();
    complains_of("is not a file of at most 4096 bytes");
    std::fs::write(&file, "hunter2 hunter2 hunter2\n").unwrap();
    let config = config(Settings::default(), &text).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.audit_webhook.unwrap().secret.as_deref(), Some(&b"hunter2 hunter2 hunter2"[..]));
}

#[test]
fn what_is_charted_and_where_traces_go_is_checked() {
    let text = "[metrics]\nlocks = ['lock:a', 'lock:b', 'lock:a']\n[telemetry]\notlp = 'http://127.0.0.1:4318'";
    let good = config(Settings::default(), text).unwrap();
    let charted: Vec<&str> = good.charted.iter().map(lockkeeper_model::LockId::as_str).collect();
    assert_eq!((charted, good.otlp.unwrap().as_str()), (vec!["lock:a", "lock:b"], "http://127.0.0.1:4318/"));
    let many: Vec<String> = (0..65).map(|n| format!("'{n}'")).collect();
    for (text, wrong) in [
        ("[metrics]\nlocks = ['']".to_owned(), "`metrics.locks` is ``, expected the id of a lock"),
        (format!("[metrics]\nlocks = [{}]", many.join(",")), "`metrics.locks` is `65 locks`, expected at most 64"),
        ("[telemetry]\notlp = 'http://user:hunter2@h'".to_owned(), "`telemetry.otlp` is not the address"),
        ("[telemetry]\notlp = 'grpc://h'".to_owned(), "`telemetry.otlp` is not the address"),
    ] {
        let said = config(Settings::default(), &text).unwrap_err().to_string();
        assert!(said.contains(wrong) && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn rules_of_warnings_are_checked_with_their_line() {
    use lockkeeper_model::{Severity, WarningRule};

    use crate::warning::{Limit, Setting};

    let text = "[[warning]]\nrule = 'held-long'\npattern = 'lock:batch:*'\nfor = '2h'\nseverity = 'critical'\n\
                [[warning]]\nrule = 'no-expiry'\nenabled = false\n\
                [[warning]]\nrule = 'held-unusually'\ntimes = 5";
    let rules = config(Settings::default(), text).unwrap().warnings;
    let of = |rule, key: &str| rules.of(rule, "localhost:6379", Some(key.as_bytes()));
    let held = of(WarningRule::HeldLong, "lock:batch:1").unwrap();
    let expected = Setting {
        severity: Severity::Critical,
        for_ms: 7_200_000,
        limit: Limit::Renewed(true),
        ..Setting::default_of(WarningRule::HeldLong)
    };
    assert_eq!(held, expected);
    assert_eq!(of(WarningRule::HeldLong, "lock:other"), Some(Setting::default_of(WarningRule::HeldLong)));
    assert_eq!(of(WarningRule::NoExpiry, "x"), None);
    assert_eq!(of(WarningRule::HeldUnusually, "x").unwrap().limit, Limit::Times(5));
    for (text, wrong) in [
        ("[[warning]]\nrule = 'held'", "lockkeeper.toml:2:8: `warning.rule` is `held`, expected one of `held-long`, "),
        ("[[warning]]\nfor = '1m'", "lockkeeper.toml:1:1: `warning.rule` is missing, expected the name of a rule"),
        ("[[warning]]\nrule = 'no-expiry'\nfor = '2d'", "lockkeeper.toml:3:7: `warning.for` is `2d`, expected seconds"),
        ("[[warning]]\nrule = 'no-expiry'\ntimes = 3", "`warning.times` belongs to the rule `held-unusually`"),
        ("[[warning]]\nrule = 'no-expiry'\nlocks = 3", "`warning.locks` belongs to the rule `many-locks`"),
        ("[[warning]]\nrule = 'evictable'\npattern = 'x'", "`warning.pattern` means nothing here"),
        (
            "[[warning]]\nrule = 'no-expiry'\nsource = 'nope'",
            "`warning.source` is `nope`, expected a pattern, or one of",
        ),
        ("[[warning]]\nrule = 'no-expiry'\nseverity = 'bad'", "expected one of `info`, `warning`, `critical`"),
        (
            "[[warning]]\nrule = 'no-expiry'\nuntil = 1",
            "`warning.until` is not a key here, expected one of rule, source",
        ),
    ] {
        let said = config(Settings::default(), text).unwrap_err().to_string();
        assert!(said.contains(wrong), "{said}\n{wrong}");
    }
}

#[test]
fn webhooks_are_checked_and_never_shown() {
    use crate::warning::Form;

    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, "hunter2 hunter2 hunter2\n").unwrap();
    let file = file.display();
    let text = format!(
        "[[webhook]]\nname = 'own'\nurl = 'https://hooks.example/hunter2'\nsecret_file = '{file}'\nrules = ['lapsed']\n\
         [[webhook]]\nname = 'pages'\nform = 'pagerduty'\nsecret_file = '{file}'\nseverity = 'critical'\nsources = ['a*']"
    );
    let config_of = |text: &str| config(Settings::default(), text);
    let good = config_of(&text).unwrap();
    assert!(!format!("{good:?}").contains("hunter2"));
    assert_eq!(good.webhooks.iter().map(|hook| hook.form).collect::<Vec<_>>(), [Form::Json, Form::PagerDuty]);
    assert_eq!(good.webhooks[1].url.as_str(), "https://events.pagerduty.com/v2/enqueue");
    assert_eq!(good.webhooks[0].secret.as_deref(), Some(&b"hunter2 hunter2 hunter2"[..]));
    for (text, wrong) in [
        ("[[webhook]]\nname = 'a'", "lockkeeper.toml:1:1: `webhook.url` is missing"),
        ("[[webhook]]\nurl = 'https://h/hunter2'", "`webhook.name` is missing"),
        (
            "[[webhook]]\nname = 'a'\nurl = 'http://h/hunter2'",
            "`webhook.url` begins with `http://`, expected `https://`",
        ),
        ("[[webhook]]\nname = 'a'\nurl = 'https://h/'\nform = 'mail'", "expected one of `json`, `slack`, `pagerduty`"),
        ("[[webhook]]\nname = 'a'\nform = 'pagerduty'", "`webhook.secret_file` is missing"),
        ("[[webhook]]\nname = 'a'\nurl = 'https://h/'\nsecret_env = 'LK_NOT_SET'", "has no variable `LK_NOT_SET`"),
        ("[[webhook]]\nname = 'a'\nurl = 'https://h/'\nrules = ['x']", "`webhook.rules` is `x`, expected one of"),
        ("[[webhook]]\nname = 'a'\nurl = 'https://h/'\nsecret = 'hunter2'", "`webhook.secret` is not a key here"),
    ] {
        let said = config_of(text).unwrap_err().to_string();
        assert!(said.contains(wrong) && !said.contains("hunter2"), "{said}\n{wrong}");
    }
}

#[test]
fn links_lead_where_the_operator_says_and_a_value_cannot_choose_where() {
    let link = |name: &str, template: &str| format!("[[link]]\nname = \"{name}\"\ntemplate = \"{template}\"\n");
    let text = link("logs", "https://logs.example.org/?q={host}:{pid}&lock={lock}")
        + &link("x", "http://h:1/{source}/{holder}");
    let config = config(Settings::default(), &text).unwrap();
    let names: Vec<&str> = config.links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!((names, config.links[1].template.as_str()), (vec!["logs", "x"], "http://h:1/{source}/{holder}"));
    for (template, because) in [
        ("javascript:alert(1)", "it does not begin with `https://` or `http://`"),
        ("file:///etc/{host}", "it does not begin with `https://` or `http://`"),
        ("https://{host}/", "what stands in braces may not be part of the host"),
        ("https://x.org/{user}", "what stands in braces may be {source}, {lock}, {holder}, {host}, {pid}"),
        ("https://me:hunter2@x.org/", "it names no host, or has credentials, which everybody would see"),
    ] {
        let place = "lockkeeper.toml:3:12: `link.template`";
        complains(&link("a", template), &format!("{place} cannot be used: {because}"));
    }
    complains(
        &link(" a", "https://x"),
        "lockkeeper.toml:2:8: `link.name` is ` a`, expected 1 to 40 characters without spaces around them",
    );
    complains(
        "[[link]]\nname = \"a\"\nurl = \"x\"",
        "lockkeeper.toml:1:1: `link.template` is missing, expected an address such as `\"https://logs.example.org/?q={host}\"`",
    );
}
