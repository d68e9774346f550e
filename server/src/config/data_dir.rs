use std::ffi::OsString;
use std::path::PathBuf;

const NAME: &str = "lockkeeper";

/// Where data is kept unless told otherwise: the folder that a service manager made for it (systemd's
/// `StateDirectory=`), else the user's folder for state, as the XDG base directory specification has it. `None` where
/// there is not even a home.
#[must_use]
pub fn default_data_dir() -> Option<PathBuf> {
    choose(|name| std::env::var_os(name))
}

fn choose(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    // The specification says that a path that is not absolute is to be ignored.
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // systemd separates several by colons; the first is the main one.
    let given = variable("STATE_DIRECTORY").and_then(|dirs| dirs.into_string().ok());
    let given = given.and_then(|dirs| dirs.split(':').next().map(PathBuf::from)).filter(|path| path.is_absolute());
    given
        .or_else(|| absolute("XDG_STATE_HOME").map(|state| state.join(NAME)))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state").join(NAME)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_that_was_made_for_it_comes_first_and_relative_ones_do_not_count() {
        let chosen = |set: &[(&str, &str)]| {
            choose(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into()))
        };
        let home = ("HOME", "/home/ops");
        assert_eq!(chosen(&[]), None);
        assert_eq!(chosen(&[home]), Some("/home/ops/.local/state/lockkeeper".into()));
        assert_eq!(chosen(&[home, ("XDG_STATE_HOME", "/state")]), Some("/state/lockkeeper".into()));
        assert_eq!(chosen(&[home, ("XDG_STATE_HOME", "state")]), Some("/home/ops/.local/state/lockkeeper".into()));
        assert_eq!(
            chosen(&[home, ("STATE_DIRECTORY", "/var/lib/lockkeeper:/var/lib/x")]),
            Some("/var/lib/lockkeeper".into())
        );
    }
}
