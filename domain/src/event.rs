//! Names of the durable events, as they stand in the store, in webhooks and on the bus.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::call::{UnknownWord, words};

words! {
    /// The type of a durable event of a call.
    Name {
        /// The row exists.
        CallCreated = "call.created",
        /// INVITE sent, or tenant and agent resolved.
        CallInitiating = "call.initiating",
        /// 180 or 183.
        CallRinging = "call.ringing",
        /// Answered.
        CallAnswered = "call.answered",
        /// A caller's turn is final.
        TurnCaller = "call.turn.caller",
        /// An agent's turn was played or cut.
        TurnAgent = "call.turn.agent",
        /// A barge-in was confirmed: `{turn,at_ms,heard_chars,stop_ms}`.
        TurnInterrupted = "call.turn.interrupted",
        /// A false alarm, speech went on: `{turn,paused_ms}`.
        TurnResumed = "call.turn.resumed",
        /// A digit came: `{digit,ms,via}`.
        DtmfReceived = "call.dtmf.received",
        /// A digit left: `{digit,ms,via}`.
        DtmfSent = "call.dtmf.sent",
        /// A tool began: `{invocation_id,tool,arguments}`.
        ToolStarted = "call.tool.started",
        /// A tool ended: `{…,ok,status,duration_ms,result_excerpt}`.
        ToolFinished = "call.tool.finished",
        /// A transfer began: `{transfer_id,destination,mode}`.
        TransferStarted = "call.transfer.started",
        /// A transfer failed: `{transfer_id,sip_status,reason}`.
        TransferFailed = "call.transfer.failed",
        /// A transfer is done.
        TransferCompleted = "call.transfer.completed",
        /// Either side holds: `{by}`.
        HoldStarted = "call.hold.started",
        /// The hold is over: `{by}`.
        HoldEnded = "call.hold.ended",
        /// The language changed: `{from,to}`.
        LanguageChanged = "call.language.changed",
        /// A stage changed vendor: `{stage,from,to,reason,after_ms}`.
        ProviderFailedOver = "call.provider.failed_over",
        /// All vendors of a stage are down: `{stage,action}`.
        Degraded = "call.degraded",
        /// Loss or MOS crossed a limit.
        Quality = "call.quality",
        /// Exactly once per call.
        CallEnded = "call.ended",
        /// Stored: `{recording_id,duration_ms,bytes,sha256}`.
        RecordingReady = "call.recording.ready",
        /// Could not be stored.
        RecordingFailed = "call.recording.failed",
        /// An agent took a message.
        MessageTaken = "message.taken",
        /// An agent booked a slot.
        BookingCreated = "booking.created",
        /// A booking was given up.
        BookingCanceled = "booking.canceled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_are_lower_case_paths() {
        for name in Name::ALL {
            assert_eq!(name.as_str().parse(), Ok(*name));
            assert!(name.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_'));
            assert!(name.as_str().contains('.'));
        }
    }
}
