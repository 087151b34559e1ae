//! Stripe: a client of the four requests that are needed, the signature of its webhooks, and what its events do to our books.

mod client;
mod events;
mod signature;

pub use client::{Cashier, CashierError, Checkout};
pub use events::{EventOutcome, GatewayEvent};
pub use signature::{BadSignature, verify};
