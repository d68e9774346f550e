//! What there is to visit.

mod locks;

pub(crate) use locks::LocksPage;
