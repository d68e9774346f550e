//! The files of users and of tokens: read with a bound, replaced in one step, closed to others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest file that is read: some thousand users or tokens.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The owner reads and writes, nobody else does anything.
const OWNER_ONLY: u32 = 0o600;

/// Bits of a mode that let others than the owner read or write.
const OTHERS: u32 = 0o066;

/// Why a file of users or tokens cannot be used. Nothing of what is in it is repeated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The system refuses.
    #[error("could not {what} `{}`: {because}", file.display())]
    Io {
        /// `read` for example.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// The system's reason.
        because: String,
    },
    /// There is something else than this form.
    #[error("`{}`{}: {because}", file.display(), line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Form {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: Option<usize>,
        /// What is expected.
        because: String,
    },
}

impl StoreError {
    fn io(what: &'static str, file: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let file = file.to_owned();
        move |error| StoreError::Io { what, file, because: error.to_string() }
    }

    /// Something in the file that cannot be used.
    pub(super) fn form(file: &Path, because: impl Into<String>) -> StoreError {
        StoreError::Form { file: file.to_owned(), line: None, because: because.into() }
    }
}

/// What a file holds; `None`: it is not there.
///
/// # Errors
/// When it cannot be read, is larger than a mebibyte or is not of this form; `expected` says of which.
pub(super) fn read<T: DeserializeOwned>(file: &Path, expected: &str) -> Result<Option<T>, StoreError> {
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::io("read", file)(error)),
    };
    let metadata = opened.metadata().map_err(StoreError::io("read", file))?;
    if metadata.mode() & OTHERS != 0 {
        let mode = format!("{:04o}", metadata.mode() & 0o7777);
        tracing::warn!(file = %file.display(), mode, "others can read this file; `chmod 600` closes it");
    }
    let mut text = String::new();
    opened.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(StoreError::io("read", file))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(StoreError::form(file, format!("has more than {MAX_FILE_BYTES} bytes")));
    }
    // The parser's own message may quote a hash.
    toml::from_str(&text).map(Some).map_err(|error| StoreError::Form {
        file: file.to_owned(),
        line: error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1),
        because: format!("expected {expected}"),
    })
}

/// Changes what a file holds, as one step: whoever reads meanwhile gets the whole of the former or of the new content,
/// and of two who write one waits. `change` gets `None` where there is no file yet.
///
/// # Errors
/// What `change` says, or why the file cannot be read or written. The file is then as it was.
pub(super) fn change<T, R, E>(
    file: &Path,
    expected: &str,
    head: &str,
    change: impl FnOnce(Option<T>) -> Result<(T, R), E>,
) -> Result<R, E>
where
    T: DeserializeOwned + Serialize,
    E: From<StoreError>,
{
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    let opened = File::open(&folder).map_err(StoreError::io("open the folder of", file))?;
    // Held until the end: the folder is there before and after the file is replaced.
    opened.lock().map_err(StoreError::io("lock the folder of", file))?;
    let (content, result) = change(read(&target, expected)?)?;
    let text = toml::to_string(&content).map_err(|error| StoreError::form(file, error.to_string()))?;
    replace(&target, &format!("{head}\n{text}")).map_err(StoreError::io("write", file))?;
    opened.sync_all().map_err(StoreError::io("write", file))?;
    Ok(result)
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.new", rand::random::<u64>()));
    let beside = file.with_file_name(name);
    let written = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(&beside).and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.sync_all()
    });
    written.and_then(|()| fs::rename(&beside, file)).inspect_err(|_| {
        // It may never have been made.
        let _ = fs::remove_file(&beside);
    })
}
