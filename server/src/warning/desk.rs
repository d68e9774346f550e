//! What is done about warnings outside the board: written down, told to others, answered by people.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lockkeeper_model::{Acknowledgement, Delivery, LockWarning, Mute};
use tokio::sync::mpsc;
use url::Url;

use super::asks::WarningAsk;
use super::hooks::{Addressed, Hook, Log, Running};
use super::message::Message;
use super::rules::Rules;
use super::store::{Kept, Store, StoreError};
use super::usual;
use super::watch::Told;
use crate::board::{Board, BoardClosed};
use crate::clock;
use crate::outbox::Letter;
use crate::recorder::history::History;
use crate::webhook::Pace;

/// What may wait to be written and told: more than can be open at once.
pub const WAITING: usize = 16_384;

/// Written in one step.
const AT_ONCE: usize = 256;

/// Why acknowledgements and mutes do not survive a restart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotKept(pub String);

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WarningsError {
    /// The server is shutting down.
    #[error(transparent)]
    Closed(#[from] BoardClosed),
    /// It could not be written down, so that it was not done.
    #[error("{0}")]
    NotWritten(String),
    /// There are too many mutes.
    #[error("there are {0} mutes already, which is as many as there may be")]
    TooManyMutes(usize),
}

impl From<StoreError> for WarningsError {
    fn from(error: StoreError) -> WarningsError {
        WarningsError::NotWritten(error.to_string())
    }
}

/// Tells the board how long the holds of locks lasted in earlier runs, as far as that was written down.
pub async fn learn(history: History, board: Board) {
    let learned = match history.is_kept() {
        false => Vec::new(),
        true => history.hold_times(usual::MAX_LOCKS).await.unwrap_or_else(|error| {
            tracing::warn!("how long locks are usually held is learned anew: {error}");
            Vec::new()
        }),
    };
    // Also when it is nothing: until then the word of an earlier run counts. An error means that the server is shutting down.
    let _ = board.tell_warnings(WarningAsk::Learn { learned }).await;
}

/// Whoever answers warnings. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Warnings(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    board: Board,
    store: Result<Arc<Mutex<Store>>, NotKept>,
    hooks: Mutex<Vec<Running>>,
    log: Log,
    /// What an earlier run left for webhooks that were not started yet.
    left: Mutex<Vec<Letter<Addressed>>>,
    /// Where people find the dashboard.
    base: Option<Url>,
    pace: Pace,
}

impl Warnings {
    /// One who has no webhooks and writes nothing down.
    #[must_use]
    pub fn idle(board: Board) -> Warnings {
        Warnings::new(board, Err(NotKept("nothing is written down".to_owned())), None, None, Pace::default())
    }

    /// One who writes down and tells what the board says on `told`, until the board ends. What waits for webhooks at the end
    /// is kept in the folder `dir`, if there is one.
    #[must_use]
    pub fn start(
        board: Board,
        told: mpsc::Receiver<Told>,
        store: Result<Store, NotKept>,
        dir: Option<&Path>,
        base: Option<Url>,
        pace: Pace,
    ) -> Warnings {
        let warnings = Warnings::new(board, store, dir, base, pace);
        tokio::spawn(warnings.clone().keep(told));
        warnings
    }

    fn new(board: Board, store: Result<Store, NotKept>, dir: Option<&Path>, base: Option<Url>, pace: Pace) -> Warnings {
        let store = store.map(|store| Arc::new(Mutex::new(store)));
        let (log, left) = Log::open(dir);
        let left = Mutex::new(left);
        Warnings(Arc::new(Inner { board, store, hooks: Mutex::default(), log, left, base, pace }))
    }

    /// Writes down what still waits for webhooks. To be called when nothing happens any more.
    pub async fn close(&self) {
        let log = self.0.log.clone();
        // An error means that writing panicked, which is in the log.
        let _ = tokio::task::spawn_blocking(move || log.keep()).await;
    }

    /// Other rules are in force.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn follow(&self, rules: Rules) -> Result<(), BoardClosed> {
        self.0.board.tell_warnings(WarningAsk::Follow { rules }).await
    }

    /// These are told from now on. What waits for a webhook that is gone is still delivered.
    ///
    /// # Errors
    /// When TLS cannot be set up, with the reason.
    pub fn tell(&self, hooks: &[Hook]) -> Result<(), String> {
        let mut running = self.hooks();
        let mut told = Vec::with_capacity(hooks.len());
        // All of them first: where one cannot be started, those that run go on.
        for hook in hooks.iter().filter(|hook| !running.iter().any(|known| known.hook == **hook)) {
            let (base, log) = (self.0.base.clone(), self.0.log.clone());
            told.push(Running::start(hook.clone(), base, log, self.0.pace, self.left_for(&hook.name))?);
        }
        let known = std::mem::take(&mut *running);
        told.extend(known.into_iter().filter(|known| hooks.contains(&known.hook)));
        told.sort_by_key(|one| hooks.iter().position(|hook| *hook == one.hook));
        *running = told;
        Ok(())
    }

    /// Why acknowledgements and mutes do not survive a restart; `None`: they do.
    #[must_use]
    pub fn not_kept(&self) -> Option<String> {
        self.0.store.as_ref().err().map(ToString::to_string)
    }

    /// Takes note that somebody looks into a warning; `None`: it is so no more. It is written down first.
    ///
    /// # Errors
    /// When it cannot be written, or the server is shutting down.
    pub async fn acknowledge(
        &self,
        id: String,
        by: String,
        note: Option<String>,
    ) -> Result<Option<LockWarning>, WarningsError> {
        let what = Acknowledgement { by, at: clock::now(), note };
        let (name, noted) = (id.clone(), what.clone());
        self.with_store(move |store| store.acknowledge(&name, &noted)).await?;
        Ok(self.0.board.warnings(|answer| WarningAsk::Acknowledge { id, what, answer }).await?)
    }

    /// The mutes that are in force.
    ///
    /// # Errors
    /// When the server is shutting down.
    pub async fn mutes(&self) -> Result<Vec<Mute>, BoardClosed> {
        self.0.board.warnings(|answer| WarningAsk::Mutes { answer }).await
    }

    /// Has nobody told of what this mute is about.
    ///
    /// # Errors
    /// When it cannot be written, there are too many, or the server is shutting down.
    pub async fn mute(&self, mute: Mute) -> Result<(), WarningsError> {
        let written = mute.clone();
        self.with_store(move |store| store.mute(&written)).await?;
        let id = mute.id.clone();
        if self.0.board.warnings(|answer| WarningAsk::Mute { mute, answer }).await? {
            return Ok(());
        }
        self.with_store(move |store| store.unmute(&id)).await?;
        Err(WarningsError::TooManyMutes(super::watch::MAX_MUTES))
    }

    /// Takes a mute away; `None`: there is no such mute.
    ///
    /// # Errors
    /// When it cannot be written, or the server is shutting down.
    pub async fn unmute(&self, id: String) -> Result<Option<Mute>, WarningsError> {
        let gone = id.clone();
        self.with_store(move |store| store.unmute(&gone)).await?;
        Ok(self.0.board.warnings(|answer| WarningAsk::Unmute { id, answer }).await?)
    }

    /// What became of the last messages to webhooks, newest first.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.0.log.list()
    }

    /// The same, once it is as it should be.
    #[cfg(test)]
    pub(super) async fn until_deliveries(&self, passes: impl Fn(&[Delivery]) -> bool) -> Vec<Delivery> {
        self.0.log.until(passes).await
    }

    /// Messages to webhooks since the start, by what became of them; `None` without webhooks.
    #[must_use]
    pub fn delivered(&self) -> Option<[(&'static str, u64); 4]> {
        (!self.hooks().is_empty()).then(|| self.0.log.counts())
    }

    /// The names of the webhooks.
    #[must_use]
    pub fn hook_names(&self) -> Vec<String> {
        self.hooks().iter().map(|running| running.hook.name.clone()).collect()
    }

    /// Sends each of the webhooks, or the one of this name, something that is no warning. Says under which names that is
    /// delivered; nothing, where there is no such webhook.
    #[must_use]
    pub fn test(&self, name: Option<&str>) -> Vec<String> {
        let hooks = self.hooks();
        let meant = hooks.iter().filter(|running| name.is_none_or(|name| running.hook.name == name));
        meant.map(Running::test).collect()
    }

    async fn keep(self, mut told: mpsc::Receiver<Told>) {
        let mut some = Vec::with_capacity(AT_ONCE);
        while told.recv_many(&mut some, AT_ONCE).await > 0 {
            let kept = some.iter().map(|told| Kept { warning: told.warning.clone(), told_as: told.told_as });
            let warnings: Vec<Kept> = kept.collect();
            for Told { warning, event, told_as, .. } in some.drain(..) {
                let (Some(event), Some(told_as)) = (event, told_as) else { continue };
                self.hooks().iter().for_each(|running| running.offer(event, &warning, told_as));
            }
            if let Err(error) = self.with_store(move |store| store.keep(&warnings, clock::now())).await {
                tracing::warn!("warnings could not be written down: {error}");
            }
        }
    }

    /// Does something with the file, if there is one.
    async fn with_store(
        &self,
        work: impl FnOnce(&mut Store) -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), WarningsError> {
        let Ok(store) = self.0.store.clone() else { return Ok(()) };
        let done = tokio::task::spawn_blocking(move || work(&mut store.lock().unwrap_or_else(PoisonError::into_inner)));
        done.await.map_err(|error| WarningsError::NotWritten(error.to_string()))??;
        Ok(())
    }

    /// What an earlier run left for the webhook of this name.
    fn left_for(&self, name: &str) -> Vec<Message> {
        let mut left = self.0.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.extract_if(.., |letter| letter.content.webhook == name).map(|letter| letter.content.message).collect()
    }

    fn hooks(&self) -> MutexGuard<'_, Vec<Running>> {
        self.0.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
