//! The routes, one file per kind of thing.

pub(super) mod analysis;
pub(super) mod analytics;
pub(super) mod calls;
pub(super) mod deliveries;
pub(super) mod dispatch_rules;
pub(super) mod do_not_call;
pub(super) mod docs;
pub(super) mod events;
pub(super) mod exports;
pub(super) mod keys;
pub(super) mod leads;
pub(super) mod nodes;
pub(super) mod number_orders;
pub(super) mod numbers;
pub(super) mod operations;
pub(super) mod recording;
pub(super) mod records;
pub(super) mod report;
mod routing;
pub(super) mod stats;
pub(super) mod taken;
pub(super) mod templates;
pub(super) mod transcript;
pub(super) mod trunks;
pub(super) mod webhooks;
pub(super) mod ws;
