//! Webhooks: a tenant's addresses, what each wants to hear, and the letters that go there.

mod deliver;
mod fanout;
mod hooks;
mod letters;
mod schedule;
mod send;
mod settle;
pub(crate) mod sign;

pub(crate) use deliver::{Post, PostSettings, letter};
pub(crate) use fanout::FanOut;
pub(crate) use hooks::{Draft, Hook, MOST, Ordering, delete, find, insert, rotate, update};
pub(crate) use letters::{DeliveryFilter, DeliveryRow, Replay, replay};
pub(crate) use send::Attempt;
pub use send::WebhookSender;
pub(crate) use sign::Secret;
