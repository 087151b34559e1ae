//! Why a call is over: what SIP says of it, as its row has it.

use domain::{Direction, EndedReason};
use sip_stack::Cause;

/// Why a call is over that was not answered, and by which status.
pub(super) fn before_answer(cause: Cause) -> (EndedReason, Option<u16>) {
    match cause {
        Cause::Rejected(status) => (EndedReason::of_sip_status(status), Some(status)),
        Cause::Cancel | Cause::Bye | Cause::Local | Cause::Replaced => (EndedReason::Canceled, Some(487)),
        Cause::Timeout | Cause::Expired => (EndedReason::NoAnswer, Some(408)),
        Cause::NoAck => (EndedReason::NoAck, None),
    }
}

/// Why a call is over whose other side hung up.
pub(in crate::call) fn hung_up(direction: Direction) -> EndedReason {
    after_answer(Cause::Bye, direction)
}

/// Why a call is over that was answered.
pub(super) fn after_answer(cause: Cause, direction: Direction) -> EndedReason {
    match (cause, direction) {
        (Cause::Bye | Cause::Cancel, Direction::Inbound) => EndedReason::CallerHungUp,
        (Cause::Bye | Cause::Cancel, Direction::Outbound) => EndedReason::CalleeHungUp,
        (Cause::NoAck, _) => EndedReason::NoAck,
        (Cause::Local, _) => EndedReason::AgentHungUp,
        // Another call of the same people goes on in its place.
        (Cause::Replaced, Direction::Inbound) => EndedReason::CallerHungUp,
        (Cause::Replaced, Direction::Outbound) => EndedReason::CalleeHungUp,
        (Cause::Timeout | Cause::Expired | Cause::Rejected(_), _) => EndedReason::RtpTimeout,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_become_the_reasons_of_the_table() {
        assert_eq!(before_answer(Cause::Rejected(486)), (EndedReason::Busy, Some(486)));
        assert_eq!(before_answer(Cause::Rejected(503)), (EndedReason::Unreachable, Some(503)));
        assert_eq!(before_answer(Cause::Cancel), (EndedReason::Canceled, Some(487)));
        assert_eq!(after_answer(Cause::Bye, Direction::Outbound), EndedReason::CalleeHungUp);
    }
}
