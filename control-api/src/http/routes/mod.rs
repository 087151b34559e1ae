//! The routes, one file per kind of thing.

pub(super) mod calls;
pub(super) mod docs;
pub(super) mod events;
pub(super) mod keys;
pub(super) mod operations;
pub(super) mod recording;
pub(super) mod records;
pub(super) mod taken;
pub(super) mod transcript;
