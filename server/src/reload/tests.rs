use super::*;
use crate::config::CommandLine;

fn config(toml: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lockkeeper.toml");
    std::fs::write(&file, toml).unwrap();
    let line = CommandLine::read(["lockkeeper", "serve", "--config", file.to_str().unwrap()]).unwrap();
    let crate::config::Command::Serve(settings) = line.command else { panic!("not to serve") };
    Config::for_serve(settings, None).unwrap()
}

const SOURCES: &str = "[[source]]\nname = \"a\"\nurl = \"redis://a\"\n[[source]]\nname = \"b\"\nurl = \"redis://b\"\n";

#[test]
fn what_cannot_be_followed_is_named() {
    let now = config(SOURCES);
    assert_eq!(waiting(&now, &config(SOURCES)), Vec::<String>::new());
    let patterns = SOURCES.replace("redis://a\"", "redis://a\"\npatterns = [\"lock:*\"]");
    assert_eq!(waiting(&now, &config(&patterns)), Vec::<String>::new());
    let other = "listen = \"127.0.0.1:9\"\nrelease.enabled = true\n[[source]]\nname = \"a\"\nurl = \"redis://other\"\n\
                 [[source]]\nname = \"c\"\nurl = \"redis://c\"\n[metrics]\nlocks = [\"x\"]\n";
    assert_eq!(
        waiting(&now, &config(other)),
        [
            "`listen`",
            "`[release]`",
            "`[metrics]`",
            "the source `c`, which is new,",
            "the source `b`, which is gone,",
            "how the source `a` is watched"
        ]
    );
}

#[test]
fn only_formats_that_decide_otherwise_have_changed() {
    let format = |name: &str, pattern: &str| {
        format!("[[format]]\nname = \"{name}\"\npattern = \"{pattern}\"\ntype = \"string\"\nholder = \"value\"\n")
    };
    let (one, two, three) = (format("one", "1:*"), format("two", "2:*"), format("three", "3:*"));
    let formats = |texts: &[&String]| config(&texts.iter().map(|text| text.as_str()).collect::<String>()).formats;
    let names = |now: &[Format], new: &[Format]| -> Vec<String> {
        changed_formats(now, new).into_iter().map(|format| format.pattern).collect()
    };
    let now = formats(&[&one, &two]);
    assert_eq!(names(&now, &now), Vec::<String>::new());
    assert_eq!(names(&now, &formats(&[&one, &two, &three])), ["3:*"]);
    assert_eq!(names(&now, &formats(&[&two])), ["1:*"]);
    assert_eq!(names(&now, &formats(&[&one, &format("two", "22:*")])), ["2:*", "22:*"]);
    assert_eq!(names(&now, &formats(&[&two, &one])), ["1:*", "2:*", "2:*", "1:*"]);
}
