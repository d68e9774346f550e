//! Where questions are answered from: the file, or PostgreSQL.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::read::Reader;
use super::schema::{self, HistoryError};
use super::{QUESTIONS, shared};
use crate::recorder::db::{Connection, Target, end_aside};

/// Where it is.
#[derive(Debug)]
pub(super) enum Place {
    File(PathBuf),
    /// With connections that nobody uses now: to make one takes longer than most answers.
    Shared {
        target: Target,
        idle: Mutex<Vec<Connection>>,
    },
}

impl Place {
    pub(super) fn shared(target: &Target) -> Place {
        Place::Shared { target: target.clone(), idle: Mutex::default() }
    }

    /// What `look` finds.
    pub(super) fn ask<T>(&self, look: impl FnOnce(&mut Reader) -> Result<T, HistoryError>) -> Result<T, HistoryError> {
        let mut reader = match self {
            Place::File(path) => Reader::begin(schema::open_to_read(path)?)?,
            Place::Shared { target, idle } => {
                let known = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
                // One that was cut while nobody used it is replaced.
                match known.map(Reader::begin) {
                    Some(Ok(reader)) => reader,
                    _ => Reader::begin(shared::open_to_read(target)?)?,
                }
            }
        };
        let found = look(&mut reader);
        if let (Place::Shared { idle, .. }, Some(connection)) = (self, reader.end()) {
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < QUESTIONS {
                idle.push(connection);
            }
        }
        found
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Place::Shared { idle, .. } = self {
            end_aside(std::mem::take(idle.get_mut().unwrap_or_else(PoisonError::into_inner)));
        }
    }
}
