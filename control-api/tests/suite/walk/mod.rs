//! Walks over every route that the OpenAPI document names: as another tenant, and with requests that are wrong.
//!
//! A new route is walked without being listed here. If its path names something that has no seed yet, the walk says so.

mod contract;
mod document;
mod isolation;
mod preconditions;
mod schema;
mod seeds;

pub(crate) use isolation::everything;
