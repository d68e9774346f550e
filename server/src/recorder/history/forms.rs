//! The ways in which locks were recognised, by the words that stand in the file.

use std::sync::{Mutex, PoisonError};

use lockkeeper_model::Certainty;

use crate::source::{DialectTraits, Recognition};

/// Those that this process has met, or made up from what is written. There is one for each way of recognising.
static MET: Mutex<Vec<&'static Recognition>> = Mutex::new(Vec::new());

/// Far more than there are ways of recognising.
const MOST: usize = 1_024;

/// Stands where there is no room for another.
static OTHER: Recognition = Recognition {
    dialect: "unknown",
    certainty: Certainty::Ambiguous,
    because: "how it was recognised is not known any more",
    traits: &DialectTraits::PLAIN,
};

/// Takes note of one that is in use: what it says of its family goes beyond what is written.
pub(super) fn met(recognition: &'static Recognition) {
    let mut met = MET.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |one: &'static Recognition| {
        let Recognition { dialect, certainty, because, .. } = one;
        (*dialect, *certainty, *because) == (recognition.dialect, recognition.certainty, recognition.because)
    };
    match met.iter().position(|one| same(one)) {
        Some(at) => met[at] = recognition,
        None if met.len() < MOST => met.push(recognition),
        None => {}
    }
}

/// The one that was written down in these words. What a family is like is known of those that this process has met; of
/// others it is made up here, for good, that nothing is known of them.
pub(super) fn written(dialect: &str, certainty: &str, because: &str) -> &'static Recognition {
    let certainties = [Certainty::Certain, Certainty::Likely, Certainty::Ambiguous, Certainty::Configured];
    let certainty = certainties.into_iter().find(|known| known.word() == certainty).unwrap_or(Certainty::Ambiguous);
    let mut met = MET.lock().unwrap_or_else(PoisonError::into_inner);
    let same = |one: &&&Recognition| (one.dialect, one.certainty, one.because) == (dialect, certainty, because);
    if let Some(known) = met.iter().find(same) {
        return known;
    }
    if met.len() >= MOST {
        return &OTHER;
    }
    let traits = met.iter().find(|one| one.dialect == dialect).map_or(&DialectTraits::PLAIN, |one| one.traits);
    let leak = |text: &str| -> &'static str { Box::leak(text.into()) };
    let made: &'static Recognition =
        Box::leak(Box::new(Recognition { dialect: leak(dialect), certainty, because: leak(because), traits }));
    met.push(made);
    made
}
