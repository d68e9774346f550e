//! What an attempt would find now: looked up and compared as the attempt does it, and nothing else.

use bytes::Bytes;
use lockkeeper_model::{Action, AuditKind, LockId, Outcome, ReleaseAnswer, ReleaseResult};

use super::compare::{Different, compare};
use super::execution::result;
use super::record::Asked;
use super::ticket::{BoundHold, Permission};
use super::{Refusal, ReleaseDesk, actions};
use crate::board::BoardClosed;
use crate::clock;
use crate::recorder::audit::{Note, outcome_word};

impl ReleaseDesk {
    /// Says of each hold what an attempt with this ticket would come to, and uses the ticket up for nothing. Several
    /// holds can be freed with it afterwards.
    pub(super) async fn dry_run(&self, permission: &Permission, asked: &Asked<'_>) -> Result<ReleaseAnswer, Refusal> {
        let unread = self.read_again_for(&permission.holds).await;
        let mut results = Vec::with_capacity(permission.holds.len());
        for hold in &permission.holds {
            let is_unread = unread.contains(&hold.source.as_str());
            results.push(self.would_do(permission.action, hold, is_unread).await?);
        }
        let notes = permission.holds.iter().zip(&results).map(|(hold, result)| Note {
            deed: asked.about(permission.action, hold),
            outcome: outcome_word(result.outcome),
            detail: format!("dry run, nothing was tried: {}", result.detail),
        });
        // Nothing happened: that it cannot be written is counted and logged where that is noticed.
        let _ = self.audit.note(AuditKind::DryRun, notes.collect()).await;
        self.tickets.note_dry_run(permission, clock::now())?;
        Ok(ReleaseAnswer { results })
    }

    /// Reads the holds' locks again, and returns the sources of those that could not be read.
    async fn read_again_for<'a>(&self, holds: &'a [BoundHold]) -> Vec<&'a str> {
        let mut names: Vec<&str> = holds.iter().map(|hold| hold.source.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let mut unread = Vec::new();
        for name in names {
            let here = holds.iter().filter(|hold| hold.source == name);
            let keys: Vec<Bytes> = here.map(|hold| Bytes::from(hold.key.clone())).collect();
            let is_read = match self.board.source(name) {
                Some(source) => self.look(source, keys).await.is_ok(),
                None => false,
            };
            if !is_read {
                unread.push(name);
            }
        }
        unread
    }

    async fn would_do(&self, action: Action, hold: &BoundHold, unread: bool) -> Result<ReleaseResult, BoardClosed> {
        let answer = |outcome, detail: String| result(&hold.source, LockId::of_key(&hold.key), outcome, detail);
        let Some(source) = self.board.source(&hold.source).filter(|_| !unread) else {
            return Ok(answer(Outcome::Failed, "it cannot be read now".to_owned()));
        };
        let found = self.board.lock(source.id, hold.key.clone().into()).await?;
        let former = self.formers.find(source.id, &hold.key, &hold.generation, clock::now());
        Ok(match compare(action, hold, found.held.as_deref(), former.as_ref()) {
            Ok(_) => {
                let would = format!("it would be {}: it is as it was previewed", actions::words_for(action).done);
                answer(Outcome::WouldRelease, would)
            }
            Err(different) => {
                let Different { outcome, detail, holder_now } = *different;
                ReleaseResult { holder_now, ..answer(outcome, detail) }
            }
        })
    }
}
