//! What is read from files and read anew when they change, without a restart.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at: a revoked token or a renewed certificate counts within a second, and looking is
/// one call of the system a file.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The latest good value of some files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Watched<T> {
    current: watch::Receiver<Arc<T>>,
}

impl<T: Send + Sync + 'static> Watched<T> {
    /// Reads the files now, and again whenever one of them changes, until `stop`. What cannot be used then is refused
    /// with a line in the log, and what was read before stays in force.
    ///
    /// # Errors
    /// What `load` says of the files as they are now.
    pub fn follow<E: std::fmt::Display + 'static>(
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
        stop: CancellationToken,
    ) -> Result<Watched<T>, E> {
        // Before reading: a change in between is then seen as one.
        let stamps = stamps(&files);
        let (publish, current) = watch::channel(Arc::new(load()?));
        tokio::spawn(follow(files, stamps, load, publish, stop));
        Ok(Watched { current })
    }

    /// A value that somebody else changes, through the other end.
    #[must_use]
    pub fn given(value: T) -> (watch::Sender<Arc<T>>, Watched<T>) {
        let (publish, current) = watch::channel(Arc::new(value));
        (publish, Watched { current })
    }

    /// A value that never changes.
    #[must_use]
    pub fn fixed(value: T) -> Watched<T> {
        Watched::given(value).1
    }

    /// The latest good value.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        self.current.borrow().clone()
    }

    /// Waits until there is another value than at the last call; never returns once nobody looks any more.
    pub async fn changed(&mut self) {
        if self.current.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn follow<T, E: std::fmt::Display>(
    files: Vec<PathBuf>,
    mut known: Vec<Option<Stamp>>,
    load: impl Fn() -> Result<T, E>,
    publish: watch::Sender<Arc<T>>,
    stop: CancellationToken,
) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = publish.closed() => return,
            _ = looks.tick() => {}
        }
        let now = stamps(&files);
        if now == known {
            continue;
        }
        known = now;
        let named = files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ");
        match load() {
            Ok(value) => {
                tracing::info!(files = named, "read anew");
                publish.send_replace(Arc::new(value));
            }
            Err(error) => tracing::error!(
                files = named,
                "changed and cannot be used, so what was read before stays in force: {error}"
            ),
        }
    }
}

/// What changes with a file: written in place, replaced by another, or pointed elsewhere by a link.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| stamp(file)).collect()
}

fn stamp(file: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = std::fs::metadata(file).ok()?;
    Some(Stamp { modified: metadata.modified().ok(), bytes: metadata.len(), inode: metadata.ino() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_read_anew_and_a_broken_one_is_not_taken() {
        let file = std::env::temp_dir().join(format!("lockkeeper-watched-{}", std::process::id()));
        let write = |text: &str| {
            // As careful writers do, so that no look meets half a file.
            let new = file.with_extension("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, &file).unwrap();
        };
        write("1");
        let path = file.clone();
        let load = move || std::fs::read_to_string(&path).unwrap_or_default().trim().parse::<u32>();
        let stop = CancellationToken::new();
        let mut watched = Watched::follow(vec![file.clone()], load, stop.clone()).unwrap();
        assert_eq!(*watched.current(), 1);
        write("2");
        watched.changed().await;
        assert_eq!(*watched.current(), 2);
        write("two");
        tokio::time::sleep(3 * LOOK_EVERY).await;
        assert_eq!(*watched.current(), 2);
        write("3");
        watched.changed().await;
        assert_eq!(*watched.current(), 3);
        stop.cancel();
        std::fs::remove_file(&file).unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_used_at_first_is_an_error() {
        let load = || Err::<(), _>("unreadable");
        let refused = Watched::follow(vec![PathBuf::from("/nowhere")], load, CancellationToken::new());
        assert_eq!(refused.unwrap_err(), "unreadable");
    }
}
