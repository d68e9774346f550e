//! The program as a shell meets it: what it says, where it says it, and what it returns.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

/// The program in an environment without a word for it, in an empty folder.
fn lockkeeper(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockkeeper"));
    command.args(arguments).env_clear().current_dir(env!("CARGO_TARGET_TMPDIR"));
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn a_bad_value_stops_the_start_with_2_and_names_where_it_came_from() {
    let (code, _, stderr) = run(&mut lockkeeper(&["serve", "--listen", "7420"]));
    assert_eq!(code, 2);
    assert_eq!(
        stderr,
        "lockkeeper: `--listen` is `7420`, expected an address and a port such as `127.0.0.1:7420` or `[::1]:7420`\n"
    );
    let (code, _, stderr) = run(lockkeeper(&["serve"]).env("LOCKKEEPER_REDIS", "redis://:hunter2@h:x"));
    assert_eq!(code, 2);
    assert!(stderr.starts_with("lockkeeper: `LOCKKEEPER_REDIS` is not a URL (invalid port number)"), "{stderr}");
    assert!(!stderr.contains("hunter2"));
    let (code, _, stderr) = run(&mut lockkeeper(&["serve", "--config", "nowhere.toml"]));
    assert_eq!(code, 2);
    assert!(stderr.starts_with("lockkeeper: could not read the configuration file `nowhere.toml`: "), "{stderr}");
    let (code, _, stderr) = run(&mut lockkeeper(&["serve", "--lisen", "x"]));
    assert_eq!(code, 2);
    assert!(stderr.contains("--lisen"), "{stderr}");
}

#[test]
fn a_url_in_the_wrong_place_is_not_quoted() {
    for arguments in [
        &["serve", "redis://:hunter2@h"][..],
        &["redis://:hunter2@h"],
        &["serve", "--listen=127.0.0.1:0", "--redis-url=redis://:hunter2@h"],
        &["serve", "--allow-release=redis://:hunter2@h"],
    ] {
        let (code, stdout, stderr) = run(&mut lockkeeper(arguments));
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert!(stderr.starts_with("error: ") && !stderr.contains("hunter2"), "{stderr}");
    }
}

#[test]
fn an_address_that_others_can_reach_is_refused_with_2_and_a_way_out() {
    for command in ["serve", "demo"] {
        let (code, _, stderr) = run(lockkeeper(&[command]).env("LOCKKEEPER_LISTEN", "0.0.0.0:7420"));
        assert_eq!(code, 2);
        assert!(
            stderr.starts_with("lockkeeper: `LOCKKEEPER_LISTEN` is `0.0.0.0:7420`, which other machines can reach")
        );
        for line in
            ["hint: ", "\n  access = ", "\n  role = ", "\n  tls = ", "\nor listen on 127.0.0.1:7420 and come through"]
        {
            assert!(stderr.contains(line), "{line:?} in {stderr}");
        }
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, stderr) = run(lockkeeper(&["serve", "--listen", &address]).env("LOCKKEEPER_LISTEN", "0.0.0.0:7420"));
    assert_eq!(code, 1);
    assert!(stderr.contains(&format!("could not listen on `{address}`: the address is in use\n")), "{stderr}");
    assert!(stderr.contains("--listen 127.0.0.1:"), "{stderr}");
}

#[test]
fn help_never_shows_a_url_from_the_environment() {
    let (code, stdout, _) = run(lockkeeper(&["serve", "--help"]).env("LOCKKEEPER_REDIS", "redis://:hunter2@h"));
    assert_eq!(code, 0);
    assert!(stdout.contains("LOCKKEEPER_REDIS") && !stdout.contains("hunter2"), "{stdout}");
    for flag in ["--config", "--redis", "--pattern", "--listen", "--allow-release", "--data-dir", "--log-format"] {
        assert!(stdout.contains(flag), "{flag}");
    }
}

#[test]
fn it_serves_without_its_store_says_so_in_one_line_and_ends_when_asked() {
    let mut child = lockkeeper(&["serve", "--listen", "127.0.0.1:0"])
        // Nobody listens there: a store that is away is shown as such, it is no reason not to start.
        .env("LOCKKEEPER_REDIS", "redis://:hunter2@127.0.0.1:1 redis://127.0.0.1:1/2")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let begin = format!("Lockkeeper {version} is watching 127.0.0.1:1, 127.0.0.1:1/2 on http://127.0.0.1:");
    assert!(said.starts_with(&begin) && said.ends_with("/\n"), "{said}");
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
