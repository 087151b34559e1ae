//! A sans-IO SIP user agent (RFC 3261, 6026, 3581, 3264, 3262, 3311, 3515, 3891, 4028, 7616): bytes and `now` go in, bytes, timers and events come out.
//!
//! It reads no clock, opens no socket and starts no thread. Feed [`Endpoint`] with `handle_*`, then drain `poll_*`.
//! Which section of which RFC is done where, and what is not: `docs/RFC.md`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod auth;
mod bouncer;
mod dialog;
mod endpoint;
mod event;
mod flow;
pub mod identity;
pub mod message;
pub mod offer;
mod outside;
mod random;
mod refusal;
pub mod sdp;
pub mod stir;
pub mod stream;
pub mod timer;
mod transaction;

pub use auth::{Algorithm, Authenticator, Authorization, Credentials};
pub use bouncer::BouncerConfig;
pub use endpoint::{Endpoint, EndpointConfig};
pub use event::{CallError, CallHandle, Cause, Event, Headers, Invite, Outgoing, Refer, Reliable};
pub use flow::{Flow, Transmit, Transport};
pub use message::{Message, Method, NameAddr, ParseError, Uri};
pub use offer::{Ability, Codec, Keying, Keys, Plan, Srtp};
pub use outside::{Peer, PeerHandle, Registration, RegistrationHandle};
pub use refusal::{Refusal, Warning};
pub use sdp::{Direction, Sdp};
