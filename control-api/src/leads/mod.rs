//! Leads: who called and may become a customer, what was noted about them, and the mail that goes to them.

mod capture;
mod collect;
mod follow_up;
pub(crate) mod rows;
pub(crate) mod templates;

pub(crate) use capture::capture;
pub(crate) use follow_up::{FollowUp, follow_up, values};
