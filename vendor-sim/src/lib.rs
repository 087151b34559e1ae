//! Local stand-ins for the vendors: the same words on the wire as Deepgram, OpenAI, ElevenLabs and Stripe, an identity provider, an
//! object store, and those who carry mail, with knobs for latency and faults.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod deepgram;
mod elevenlabs;
mod knobs;
mod mulaw;
mod oidc;
mod openai;
mod resend;
mod running;
mod s3;
mod smtp;
mod socket;
mod stripe;
mod telnyx;
mod twilio;

pub use deepgram::Deepgram;
pub use elevenlabs::ElevenLabs;
pub use knobs::{Fault, Knobs, Reply, ToolCall};
pub use oidc::{OIDC_CLIENT, Oidc, OidcLie, OidcPerson};
pub use openai::OpenAi;
pub use resend::Resend;
pub use running::{Running, start_all};
pub use s3::{S3, S3Keys};
pub use smtp::{Letter, SmtpSink};
pub use stripe::{Endpoint, Stripe, StripeEvent, deliver};
pub use telnyx::Telnyx;
pub use twilio::Twilio;
