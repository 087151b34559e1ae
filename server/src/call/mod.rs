//! One call, from INVITE to its last row: the only folder where SIP, media, conversation and records meet.
//!
//! `desk` (who is live, who answers) → `inbound` or `outbound` (until the answer) → `session` (until the end), with
//! `leg` (SDP ↔ RTP), `ways` (hosts ↔ paths), `line` (rings ↔ conversation), `steer` (what is asked of a call), `transfer` and `party`
//! (to whom it is handed over), `toolbox` and `tools` (what agents can do), `known` (what they know), `bounds` (of trunks), `credit` and
//! `meter` (what the call may cost), `stir` (who signed for the caller), `metrics`, `traces` (what was said on the wire), `record` (the
//! stereo file) and `shown` (who listens) beside it.

mod bounds;
pub mod credit;
pub mod desk;
mod facts;
mod inbound;
mod known;
pub mod leg;
pub mod line;
mod meter;
mod metrics;
mod outbound;
mod party;
pub mod record;
mod release;
mod session;
mod shown;
mod sounds;
mod steer;
pub mod stir;
mod toolbox;
mod tools;
pub mod traces;
mod transfer;
mod ways;
