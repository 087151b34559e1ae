//! The life of a call: its states, the only legal ways between them, and why it ended.

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every value, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word used in the API, the store and the logs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::call::UnknownWord;

            fn from_str(word: &str) -> Result<Self, $crate::call::UnknownWord> {
                match word { $($word => Ok(Self::$variant),)+ _ => Err($crate::call::UnknownWord) }
            }
        }
    };
}
pub(crate) use words;

/// The word names nothing known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word")]
pub struct UnknownWord;

words! {
    /// Who began the call.
    Direction {
        /// A caller rang us.
        Inbound = "inbound",
        /// We dialled.
        Outbound = "outbound",
    }
}

words! {
    /// What carries the call's audio to us.
    Channel {
        /// A SIP trunk or phone.
        Sip = "sip",
        /// A browser.
        Web = "web",
        /// A carrier's media stream over WebSocket.
        MediaStream = "media_stream",
    }
}

words! {
    /// Where a call stands. The same names serve both directions.
    Status {
        /// The row exists, nothing has left yet.
        Pending = "pending",
        /// Outbound: INVITE sent. Inbound: tenant and agent resolved.
        Initiating = "initiating",
        /// 180 or 183.
        Ringing = "ringing",
        /// Answered.
        InProgress = "in_progress",
        /// Ended after a conversation.
        Completed = "completed",
        /// Ended by a fault, ours or theirs.
        Failed = "failed",
        /// Nobody answered.
        NoAnswer = "no_answer",
        /// Busy here or everywhere.
        Busy = "busy",
        /// Given up before it was answered.
        Canceled = "canceled",
    }
}

impl Status {
    /// True for the five states nothing leaves.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::NoAnswer | Self::Busy | Self::Canceled)
    }

    /// True when the step from `self` to `next` is one the state machine lists; everything else is a bug somewhere.
    pub const fn can_become(self, next: Self) -> bool {
        use Status::{Busy, Canceled, Completed, Failed, InProgress, Initiating, NoAnswer, Pending, Ringing};
        match self {
            Pending => matches!(next, Initiating | Canceled | Failed),
            Initiating => matches!(next, Ringing | InProgress | Busy | NoAnswer | Canceled | Failed),
            Ringing => matches!(next, InProgress | Busy | NoAnswer | Canceled | Failed),
            InProgress => matches!(next, Completed | Failed),
            Completed | Failed | NoAnswer | Busy | Canceled => false,
        }
    }
}

words! {
    /// Why a call ended; [`EndedReason::status`] says which final state it means.
    EndedReason {
        /// The caller sent BYE.
        CallerHungUp = "caller_hung_up",
        /// The called party sent BYE.
        CalleeHungUp = "callee_hung_up",
        /// The agent said goodbye.
        AgentHungUp = "agent_hung_up",
        /// `POST calls/{id}/end`.
        ApiEnded = "api_ended",
        /// Handed to someone else.
        Transferred = "transferred",
        /// The caller stayed silent through every prompt.
        Silence = "silence",
        /// A web session without speech.
        Idle = "idle",
        /// The agent's longest call.
        MaxDuration = "max_duration",
        /// The call's cost cap.
        CostCap = "cost_cap",
        /// The tenant's credit.
        CreditExhausted = "credit_exhausted",
        /// A message was left on a machine.
        VoicemailLeft = "voicemail_left",
        /// A machine answered and we left.
        VoicemailHungUp = "voicemail_hung_up",
        /// A call-screening assistant refused.
        Screened = "screened",
        /// The caller did not consent to recording.
        ConsentRefused = "consent_refused",
        /// The other party asked not to be called.
        OptedOut = "opted_out",
        /// The drain's deadline came first.
        DrainForced = "drain_forced",
        /// The SIP session timer ran out (RFC 4028).
        SessionExpired = "session_expired",
        /// 486 or 600.
        Busy = "busy",
        /// Ring time-out, 408 or 480.
        NoAnswer = "no_answer",
        /// Given up before the answer.
        Canceled = "canceled",
        /// The scheduled time passed.
        ScheduleExpired = "schedule_expired",
        /// 603, 607 or 608.
        Declined = "declined",
        /// 404, 484 or 604.
        UnknownNumber = "unknown_number",
        /// 5xx or no transport, on every gateway.
        Unreachable = "unreachable",
        /// Destination policy.
        ForbiddenDestination = "forbidden_destination",
        /// No credit at the door.
        InsufficientCredit = "insufficient_credit",
        /// A spending cap at the door.
        SpendCap = "spend_cap",
        /// The tenant's concurrent calls.
        Concurrency = "concurrency",
        /// The tenant's calls per second.
        Cps = "cps",
        /// The node is full.
        NoCapacity = "no_capacity",
        /// The node is draining.
        Draining = "draining",
        /// The number is on the do-not-call list.
        DoNotCall = "do_not_call",
        /// The pre-call hook refused.
        PreCallRefused = "pre_call_refused",
        /// No agent answers here.
        NoAgent = "no_agent",
        /// 488.
        CodecMismatch = "codec_mismatch",
        /// Credentials refused by the trunk.
        AuthFailed = "auth_failed",
        /// The trunk is down.
        TrunkDown = "trunk_down",
        /// No ACK in 32 s (RFC 3261 §13.3.1.4).
        NoAck = "no_ack",
        /// Answered, but no packet ever came.
        NoMedia = "no_media",
        /// Packets stopped.
        RtpTimeout = "rtp_timeout",
        /// All vendors and fall-backs dead.
        AgentFailed = "agent_failed",
        /// The node went away with the call.
        NodeLost = "node_lost",
        /// A fault of our own.
        Internal = "internal",
    }
}

impl EndedReason {
    /// The final state that goes with the reason.
    pub const fn status(self) -> Status {
        match self {
            Self::CallerHungUp
            | Self::CalleeHungUp
            | Self::AgentHungUp
            | Self::ApiEnded
            | Self::Transferred
            | Self::Silence
            | Self::Idle
            | Self::MaxDuration
            | Self::CostCap
            | Self::CreditExhausted
            | Self::VoicemailLeft
            | Self::VoicemailHungUp
            | Self::Screened
            | Self::ConsentRefused
            | Self::OptedOut
            | Self::DrainForced
            | Self::SessionExpired => Status::Completed,
            Self::Busy => Status::Busy,
            Self::NoAnswer => Status::NoAnswer,
            Self::Canceled | Self::ScheduleExpired => Status::Canceled,
            _ => Status::Failed,
        }
    }

    /// The reason for a final SIP answer to our INVITE, by its status code.
    pub const fn of_sip_status(status: u16) -> Self {
        match status {
            486 | 600 => Self::Busy,
            408 | 480 => Self::NoAnswer,
            487 => Self::Canceled,
            603 | 607 | 608 => Self::Declined,
            404 | 484 | 604 => Self::UnknownNumber,
            488 | 606 => Self::CodecMismatch,
            // A carrier says 403 to an account or an address that it does not know.
            401 | 403 | 407 => Self::AuthFailed,
            _ => Self::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_a_final_state() {
        for from in Status::ALL.iter().filter(|status| status.is_final()) {
            assert!(Status::ALL.iter().all(|to| !from.can_become(*to)), "{from}");
        }
    }

    #[test]
    fn a_conversation_cannot_end_unanswered_and_ringing_cannot_complete() {
        assert!(!Status::Ringing.can_become(Status::Completed));
        assert!(!Status::Pending.can_become(Status::InProgress));
        for unanswered in [Status::Busy, Status::NoAnswer, Status::Canceled] {
            assert!(!Status::InProgress.can_become(unanswered));
            assert!(Status::Ringing.can_become(unanswered));
        }
    }

    #[test]
    fn every_live_state_may_fail() {
        for from in Status::ALL.iter().filter(|status| !status.is_final()) {
            assert!(from.can_become(Status::Failed), "{from}");
        }
    }

    #[test]
    fn every_reason_means_a_final_state_and_reads_back() {
        for reason in EndedReason::ALL {
            assert!(reason.status().is_final(), "{reason}");
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
        assert_eq!("nonsense".parse::<EndedReason>(), Err(UnknownWord));
    }

    #[test]
    fn sip_answers_have_reasons() {
        for (status, reason) in [
            (486, EndedReason::Busy),
            (480, EndedReason::NoAnswer),
            (404, EndedReason::UnknownNumber),
            (603, EndedReason::Declined),
            (488, EndedReason::CodecMismatch),
            (503, EndedReason::Unreachable),
        ] {
            assert_eq!(EndedReason::of_sip_status(status), reason);
        }
    }
}
