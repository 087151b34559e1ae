//! Calls find who answers them and how they leave.

mod inbound;
mod lines;
mod numbers;
mod outbound;
mod port;
pub(crate) mod rows;
mod rules;
mod shop;
mod trunks;
