//! The folder that outlives a run, and what keeps others out of it.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

/// Makes it where it is missing. Names, reasons and addresses are nobody else's business on the machine.
pub(crate) fn create_private(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Makes the file where it is missing. SQLite gives its other files the permissions of the first.
pub(crate) fn make_private(file: &Path) -> std::io::Result<()> {
    private(file).map(drop)
}

/// Locks the file of that name as long as what is returned lives; `busy` says what it means that another has.
pub(crate) fn lock(dir: &Path, name: &str, busy: &str) -> Result<File, String> {
    let file = private(&dir.join(name)).map_err(|error| format!("`{name}` in it: {error}"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(busy.to_owned()),
        Err(TryLockError::Error(error)) => Err(format!("`{name}` in it cannot be locked: {error}")),
    }
}

fn private(file: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(file)
}
